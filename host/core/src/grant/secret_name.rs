//! The name of a secret, and the placeholder that a guest holds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::text::shorten;

/// The name of a secret: `[A-Za-z_][A-Za-z0-9_]{0,63}`, since it becomes that of a variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// A string that is not the name of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not the name of a secret: use 1 to 64 characters A-Z, a-z, 0-9 and `_`, not beginning with a digit"
)]
pub struct InvalidSecretName(String);

impl SecretName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The placeholder that the guest gets instead of the secret. The host replaces it in the headers of
    /// requests to the origins of the secret, and nowhere else. It is not secret itself.
    #[must_use]
    pub fn placeholder(&self) -> String {
        format!("jobwright-secret({self})")
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SecretName {
    type Err = InvalidSecretName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let first = text.as_bytes().first().is_some_and(|b| plain(b) && !b.is_ascii_digit());
        if first && text.len() <= 64 && text.as_bytes().iter().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSecretName(shorten(text)))
        }
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidSecretName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}
