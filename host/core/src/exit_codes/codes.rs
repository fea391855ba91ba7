//! Exit codes as they are written: a number, or a range.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::shorten;

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
    pub(super) fn includes(self, code: u8) -> bool {
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
            _ => Err(InvalidCodes(shorten(text))),
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
