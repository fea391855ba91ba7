//! The version of a plugin: semantic, or made from the digest of its bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::Digest;
use crate::text::shorten;

/// A version: semantic (`1.2.0`), or made from the digest (`sha-` and 12 hex digits).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Version {
    /// `sha-` and 12 hex digits; sorts before every semantic version.
    Digest(String),
    /// As in semver.org, 2.0.0.
    Semantic(semver::Version),
}

/// The longest version, in bytes: fits a file name together with a plugin's name.
pub const MAX_VERSION_BYTES: usize = 64;

/// A string that is not a version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a version: use a semantic version such as 1.2.0, of at most 64 bytes, or omit it \
     to have one made from the digest"
)]
pub struct InvalidVersion(String);

impl Version {
    /// The version of an upload that names none.
    #[must_use]
    pub fn from_digest(digest: &Digest) -> Self {
        Self::Digest(format!("sha-{}", &digest.hex()[..12]))
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digest = text.strip_prefix("sha-").is_some_and(|digits| {
            digits.len() == 12 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if is_digest {
            return Ok(Self::Digest(text.to_owned()));
        }
        semver::Version::parse(text)
            .ok()
            .filter(|_| text.len() <= MAX_VERSION_BYTES)
            .map(Self::Semantic)
            .ok_or_else(|| InvalidVersion(shorten(text)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(label) => f.write_str(label),
            Self::Semantic(version) => version.fmt(f),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = InvalidVersion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}
