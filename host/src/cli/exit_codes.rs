//! The flag that says what exit codes mean, as the setting `exit_codes` of plugins does.

use jobwright_core::exit_codes::{Codes, ExitCodes, Lists};
use serde_json::Value;

use super::exit::Fault;

/// What exit codes mean, where that is not the usual.
#[derive(Debug, clap::Args)]
pub(super) struct ExitCodeOptions {
    /// What exit codes mean: `succeed=0,10-19`, or `retry=…`, `fail=…`, `snooze=…`; may be repeated
    /// [default: as in `sysexits.h`].
    #[arg(long, value_name = "MEANING=CODES", value_parser = listed)]
    exit_codes: Vec<Listed>,
}

/// Codes of one meaning.
#[derive(Debug, Clone)]
struct Listed {
    meaning: String,
    codes: Vec<Codes>,
}

impl ExitCodeOptions {
    /// The setting `exit_codes`, if any is given.
    ///
    /// # Errors
    /// If a code is given two meanings.
    pub(super) fn given(&self) -> anyhow::Result<Option<Value>> {
        if self.exit_codes.is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::to_value(self.codes()?)?))
    }

    /// What is set.
    ///
    /// # Errors
    /// If a code is given two meanings.
    pub(super) fn codes(&self) -> anyhow::Result<ExitCodes> {
        let mut lists = Lists::default();
        for Listed { meaning, codes } in &self.exit_codes {
            let list = match meaning.as_str() {
                "succeed" => &mut lists.succeed,
                "retry" => &mut lists.retry,
                "fail" => &mut lists.fail,
                _ => &mut lists.snooze,
            };
            list.extend(codes);
        }
        Ok(ExitCodes::try_from(lists).map_err(|error| Fault::Usage.says(error))?)
    }
}

fn listed(text: &str) -> Result<Listed, String> {
    const MEANINGS: [&str; 4] = ["succeed", "retry", "fail", "snooze"];
    let found = text.split_once('=').filter(|(meaning, _)| MEANINGS.contains(meaning));
    let (meaning, codes) = found.ok_or_else(|| {
        "use succeed=CODES, retry=CODES, fail=CODES or snooze=CODES, such as succeed=0,10-19"
            .to_owned()
    })?;
    let codes = codes.split(',').map(|code| code.parse::<Codes>().map_err(|e| e.to_string()));
    Ok(Listed { meaning: meaning.to_owned(), codes: codes.collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use jobwright_core::exit_codes::Meaning;

    use super::*;

    fn options(texts: &[&str]) -> Result<ExitCodeOptions, String> {
        let exit_codes = texts.iter().map(|text| listed(text)).collect::<Result<_, _>>()?;
        Ok(ExitCodeOptions { exit_codes })
    }

    #[test]
    fn codes_are_listed_by_what_they_mean() {
        let codes = options(&["succeed=0,10-19", "fail=2", "succeed=30"]).unwrap().codes().unwrap();
        let meanings = [0, 15, 30, 2, 1].map(|code| codes.meaning(code));
        let succeed = Some(Meaning::Succeed);
        assert_eq!(meanings, [succeed, succeed, succeed, Some(Meaning::Fail), None]);
        assert!(options(&["succeed=1", "retry=1"]).unwrap().codes().is_err());
        for bad in ["1", "pass=1", "fail=256", "fail="] {
            assert!(options(&[bad]).is_err(), "{bad}");
        }
    }
}
