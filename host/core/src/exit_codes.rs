//! What the exit codes of a plugin mean: as in BSD's `sysexits.h`, unless its settings say otherwise.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What an exit code asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The output is whole.
    Succeed,
    /// A failure that may pass.
    Retry,
    /// A failure for good.
    Fail,
    /// It is not the time for it: not counted as a failure.
    Snooze,
}

/// Codes from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Codes {
    first: u8,
    last: u8,
}

/// How codes are written: `10`, or `"20-29"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    One(i64),
    Whole(f64),
    Text(String),
}

/// Text that names no exit codes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not an exit code: use a number from 0 to 255, or a range such as \"20-29\"")]
pub struct InvalidCodes(String);

impl Codes {
    fn includes(self, code: u8) -> bool {
        (self.first..=self.last).contains(&code)
    }
}

impl FromStr for Codes {
    type Err = InvalidCodes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code = |text: &str| text.trim().parse::<u8>().ok();
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (code(first), code(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(InvalidCodes(crate::name::shorten(text))),
        }
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl TryFrom<Form> for Codes {
    type Error = InvalidCodes;

    fn try_from(form: Form) -> Result<Self, Self::Error> {
        match form {
            Form::One(code) => code.to_string().parse(),
            // Numbers in JSON that are whole are whole however they are written.
            Form::Whole(code) => code.to_string().parse(),
            Form::Text(text) => text.parse(),
        }
    }
}

impl From<Codes> for Form {
    fn from(codes: Codes) -> Self {
        if codes.first == codes.last {
            Self::One(codes.first.into())
        } else {
            Self::Text(codes.to_string())
        }
    }
}

/// What a plugin's settings say of its exit codes; what they do not name means what it usually does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Lists")]
pub struct ExitCodes {
    /// These succeed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    succeed: Vec<Codes>,
    /// These are tried again, counted as failures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retry: Vec<Codes>,
    /// These fail for good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fail: Vec<Codes>,
    /// These are tried again later, not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    snooze: Vec<Codes>,
}

/// [`ExitCodes`] before they are checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lists {
    /// See [`ExitCodes`].
    pub succeed: Vec<Codes>,
    /// See [`ExitCodes`].
    pub retry: Vec<Codes>,
    /// See [`ExitCodes`].
    pub fail: Vec<Codes>,
    /// See [`ExitCodes`].
    pub snooze: Vec<Codes>,
}

/// Exit codes that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidExitCodes {
    /// A code that would mean two things.
    #[error("exit code {code} is in both `{one}` and `{other}`: put it in one list")]
    Twice {
        /// The code.
        code: u8,
        /// A list.
        one: &'static str,
        /// Another.
        other: &'static str,
    },
    /// More than there are codes.
    #[error("the lists have {0} items, and there are 256 exit codes: use ranges such as \"20-29\"")]
    TooMany(usize),
}

impl TryFrom<Lists> for ExitCodes {
    type Error = InvalidExitCodes;

    fn try_from(lists: Lists) -> Result<Self, Self::Error> {
        let Lists { succeed, retry, fail, snooze } = lists;
        let codes = Self { succeed, retry, fail, snooze };
        let items: usize = codes.lists().iter().map(|(.., list)| list.len()).sum();
        if items > 256 {
            return Err(InvalidExitCodes::TooMany(items));
        }
        for code in 0..=u8::MAX {
            let lists = codes.lists();
            let mut named = lists.iter().filter(|(.., list)| includes(list, code));
            if let (Some((_, one, _)), Some((_, other, _))) = (named.next(), named.next()) {
                return Err(InvalidExitCodes::Twice { code, one, other });
            }
        }
        Ok(codes)
    }
}

impl From<ExitCodes> for Lists {
    fn from(codes: ExitCodes) -> Self {
        let ExitCodes { succeed, retry, fail, snooze } = codes;
        Self { succeed, retry, fail, snooze }
    }
}

impl ExitCodes {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|(.., list)| list.is_empty())
    }

    /// What is set of a code as a guest passes it. Of a negative one the low byte counts, as for
    /// processes: `exit(-1)` is 255.
    #[must_use]
    pub fn meaning(&self, code: i32) -> Option<Meaning> {
        let code = match u8::try_from(code) {
            Ok(code) => code,
            Err(_) if code < 0 => code.to_le_bytes()[0],
            Err(_) => return None,
        };
        let lists = self.lists();
        let named = lists.iter().find(|(.., list)| includes(list, code));
        named.map(|(meaning, ..)| *meaning)
    }

    fn lists(&self) -> [(Meaning, &'static str, &[Codes]); 4] {
        [
            (Meaning::Succeed, "succeed", &self.succeed),
            (Meaning::Retry, "retry", &self.retry),
            (Meaning::Fail, "fail", &self.fail),
            (Meaning::Snooze, "snooze", &self.snooze),
        ]
    }
}

fn includes(list: &[Codes], code: u8) -> bool {
    list.iter().any(|codes| codes.includes(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ExitCodes, String> {
        serde_json::from_str(text).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn codes_are_numbers_and_ranges_and_are_written_as_they_were_read() {
        let text = r#"{"succeed":[0,10,"20-29"],"retry":[1],"fail":[2],"snooze":["75-75",255]}"#;
        let codes = parse(text).expect("valid");
        for (code, meaning) in [
            (0, Some(Meaning::Succeed)),
            (20, Some(Meaning::Succeed)),
            (29, Some(Meaning::Succeed)),
            (30, None),
            (1, Some(Meaning::Retry)),
            (2, Some(Meaning::Fail)),
            (75, Some(Meaning::Snooze)),
            (-1, Some(Meaning::Snooze)),
            (256, None),
            (266, None),
        ] {
            assert_eq!(codes.meaning(code), meaning, "{code}");
        }
        let written = serde_json::to_string(&codes).expect("text");
        assert_eq!(written, text.replace("\"75-75\"", "75"));
        assert_eq!(parse(&written), Ok(codes));
        assert_eq!(parse(r#"{"succeed":[10.0]}"#), parse(r#"{"succeed":["10"]}"#));
        assert!(parse("{}").expect("valid").is_empty());
    }

    #[test]
    fn what_is_no_exit_code_or_means_two_things_is_refused() {
        for (text, why) in [
            (r#"{"succeed":[256]}"#, "`256` is not an exit code"),
            (r#"{"retry":[-1]}"#, "`-1` is not an exit code"),
            (r#"{"fail":["9-3"]}"#, "`9-3` is not an exit code"),
            (r#"{"fail":["two"]}"#, "`two` is not an exit code"),
            (r#"{"fail":[1.5]}"#, "`1.5` is not an exit code"),
            (
                r#"{"succeed":["1-5"],"snooze":[5]}"#,
                "exit code 5 is in both `succeed` and `snooze`",
            ),
            (r#"{"pass":[1]}"#, "unknown field `pass`"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
