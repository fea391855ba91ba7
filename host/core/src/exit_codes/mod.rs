//! The meaning of a plugin's exit codes: that of BSD's `sysexits.h`, unless its settings override
//! it.

mod codes;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::codes::{Codes, InvalidCodes};

/// The meaning of an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Succeeded: the output is complete.
    Succeed,
    /// A failure that may pass.
    Retry,
    /// A failure for good.
    Fail,
    /// Try again later, not counted as a failure.
    Snooze,
}

/// The exit codes in a plugin's settings; codes that they do not list have their default meaning.
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
    /// A code with two meanings.
    #[error("exit code {code} is in both `{one}` and `{other}`: put it in one list")]
    Twice {
        /// The code.
        code: u8,
        /// A list.
        one: &'static str,
        /// The other list.
        other: &'static str,
    },
    /// More items than there are codes.
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

    /// The meaning that is set for a code as a guest passes it. Of a negative code the low byte counts, as for
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
mod tests;
