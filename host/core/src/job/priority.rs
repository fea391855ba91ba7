//! How urgent a job is.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How urgent a job is, from 1 to 4: each level above 4 is a head start, see
/// [`Queue`](crate::queue::Queue). The default is 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

/// A number that is no priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("priority {0} is not one of 1 (first) to 4 (last)")]
pub struct InvalidPriority(u8);

impl Default for Priority {
    fn default() -> Self {
        Self(2)
    }
}

impl TryFrom<u8> for Priority {
    type Error = InvalidPriority;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        if (1..=4).contains(&number) { Ok(Self(number)) } else { Err(InvalidPriority(number)) }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}
