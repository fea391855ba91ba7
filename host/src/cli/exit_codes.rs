//! The flag `--exit-codes`, which has the meaning of the plugin setting `exit_codes`.

use jobwright_core::exit_codes::{Codes, ExitCodes, Lists};
use serde_json::{Value, json};

use super::exit::Fault;

/// The meanings of exit codes that differ from the default.
#[derive(Debug, clap::Args)]
pub(super) struct ExitCodeOptions {
    /// What exit codes mean: `succeed=0,10-19`, `retry=…`, `fail=…` or `snooze=…`; repeatable. Together
    /// they replace the previous setting; `none` restores the default [default: as in `sysexits.h`].
    #[arg(long, value_name = "MEANING=CODES", value_parser = listed)]
    exit_codes: Vec<Listed>,
}

/// Exit codes with the same meaning.
#[derive(Debug, Clone)]
struct Listed {
    meaning: String,
    codes: Vec<Codes>,
}

impl ExitCodeOptions {
    /// The setting `exit_codes`, if the flag is given. It has all four lists, because a change leaves
    /// absent lists as they are.
    ///
    /// # Errors
    /// If a code has two meanings.
    pub(super) fn given(&self) -> anyhow::Result<Option<Value>> {
        if self.exit_codes.is_empty() {
            return Ok(None);
        }
        self.codes()?;
        let Lists { succeed, retry, fail, snooze } = self.lists();
        Ok(Some(json!({ "succeed": succeed, "retry": retry, "fail": fail, "snooze": snooze })))
    }

    /// The meanings of exit codes.
    ///
    /// # Errors
    /// If a code has two meanings.
    pub(super) fn codes(&self) -> anyhow::Result<ExitCodes> {
        Ok(ExitCodes::try_from(self.lists()).map_err(|error| Fault::Usage.failure(error))?)
    }

    fn lists(&self) -> Lists {
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
        lists
    }
}

fn listed(text: &str) -> Result<Listed, String> {
    const MEANINGS: [&str; 4] = ["succeed", "retry", "fail", "snooze"];
    // One empty list: all codes keep the default meaning.
    let text = if text == "none" { "succeed=" } else { text };
    let found = text.split_once('=').filter(|(meaning, _)| MEANINGS.contains(meaning));
    let (meaning, codes) = found.ok_or_else(|| {
        "use succeed=CODES, retry=CODES, fail=CODES or snooze=CODES, such as succeed=0,10-19, or none"
            .to_owned()
    })?;
    let codes = codes.split(',').filter(|_| !codes.is_empty());
    let codes = codes.map(|code| code.parse::<Codes>().map_err(|e| e.to_string()));
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
    fn codes_are_listed_by_meaning() {
        let codes = options(&["succeed=0,10-19", "fail=2", "succeed=30"]).unwrap().codes().unwrap();
        let meanings = [0, 15, 30, 2, 1].map(|code| codes.meaning(code));
        let succeed = Some(Meaning::Succeed);
        assert_eq!(meanings, [succeed, succeed, succeed, Some(Meaning::Fail), None]);
        assert!(options(&["succeed=1", "retry=1"]).unwrap().codes().is_err());
        for bad in ["1", "pass=1", "fail=256", "fail=1,"] {
            assert!(options(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_change_sends_all_lists() {
        let given = |texts: &[&str]| options(texts).unwrap().given().unwrap();
        let lists = |succeed: Value, fail: Value| {
            Some(json!({ "succeed": succeed, "retry": [], "fail": fail, "snooze": [] }))
        };
        assert_eq!(given(&[]), None);
        assert_eq!(given(&["fail=10"]), lists(json!([]), json!([10])));
        assert_eq!(given(&["succeed=0,10-19", "fail="]), lists(json!([0, "10-19"]), json!([])));
        assert_eq!(given(&["none"]), lists(json!([]), json!([])));
    }
}
