//! Secrets: what the host says for a guest, which holds only a
//! [placeholder](SecretName::placeholder) of it.
//!
//! | module | owns |
//! |---|---|
//! | [`placing`] | where a placeholder is replaced, and where that is refused |
//! | [`masking`] | finding and covering secrets in a response |
//! | [`writing`], [`names`], [`zeros`], [`radix`], [`numbers`], [`dumps`] | the encodings in which they are found |
//! | [`left`] | what is left of a text from which something was removed |
//! | [`shelf`] | which values a host may know, as they are and as they were |
//! | [`effort`] | how many steps a search may take |
//!
//! Invariant: nothing here shows a value. [`SecretValue`] can be neither printed nor serialized;
//! whoever needs its text calls [`SecretValue::reveal`].

mod dumps;
mod effort;
mod left;
pub mod masking;
mod names;
mod numbers;
pub mod placing;
mod radix;
pub mod shelf;
mod writing;
mod zeros;

use std::fmt::{self, Debug};

use async_trait::async_trait;
use thiserror::Error;

pub use self::masking::Mask;
pub use self::placing::{Misplaced, Secrets, place};
pub use self::shelf::Shelf;
use crate::clock::Timestamp;
use crate::grant::{Origin, SecretName};
use crate::tenant::TenantName;

/// The shortest value, in bytes: what is shorter is guessed, and masking it would spoil responses in
/// which it stands by chance.
pub const MIN_VALUE_BYTES: usize = 8;

/// The longest value, in bytes: servers take headers of 8 KiB, and the rest of the header needs room.
pub const MAX_VALUE_BYTES: usize = 4 << 10;

/// The most origins of one secret: one service has some names.
pub const MAX_ORIGINS: usize = 16;

/// The most secrets of one tenant: all are held in memory, and written together.
pub const MAX_SECRETS: usize = 100;

/// The most values of one tenant that are hidden though they were replaced or removed.
///
/// One of an hour for as long as jobs are kept by default, which is 14 days, and some more. Beyond, the
/// oldest is forgotten.
pub const MAX_RETIRED: usize = 400;

/// The text of a secret, of visible ASCII characters and inner blanks: what any header carries.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

/// Text that cannot be a secret. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidValue {
    /// Too short or too long.
    #[error("a secret has {MIN_VALUE_BYTES} to {MAX_VALUE_BYTES} bytes; this one has {0}")]
    Length(usize),
    /// It holds what no header can.
    #[error(
        "a secret is made of visible ASCII characters, and blanks between them; byte {0} of this \
         one is none"
    )]
    Byte(usize),
}

impl SecretValue {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl TryFrom<String> for SecretValue {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let (first, last) = (0, text.len().saturating_sub(1));
        let taken = |(place, byte): &(usize, u8)| {
            byte.is_ascii_graphic() || (*byte == b' ' && *place != first && *place != last)
        };
        if !(MIN_VALUE_BYTES..=MAX_VALUE_BYTES).contains(&text.len()) {
            return Err(InvalidValue::Length(text.len()));
        }
        match text.bytes().enumerate().find(|byte| !taken(byte)) {
            Some((place, _)) => Err(InvalidValue::Byte(place + 1)),
            None => Ok(Self(text)),
        }
    }
}

/// A secret, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// What is said.
    pub value: SecretValue,
    /// To whom alone.
    pub origins: Vec<Origin>,
    /// When it was set.
    pub created_at: Timestamp,
}

/// Keeps secrets. A change is on disk when it is answered, and happens entirely or not at all.
#[async_trait]
pub trait SecretStore: Debug + Send + Sync + 'static {
    /// One secret, as of now.
    fn get(&self, tenant: &TenantName, name: &SecretName) -> Option<Secret>;

    /// Every value of the tenant, granted to a plugin or not, of which an origin has the host of `to`,
    /// at any port and in any scheme; with those that were replaced or removed, for as long as jobs
    /// are kept: the host may remember what it was sent.
    fn known_to(&self, tenant: &TenantName, to: &http::Uri) -> Vec<SecretValue>;

    /// All secrets of a tenant, by name.
    fn list(&self, tenant: &TenantName) -> Vec<(SecretName, Secret)>;

    /// Sets a secret; says whether there was none of this name.
    ///
    /// # Errors
    /// If there are too many, or it cannot be written.
    async fn set(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        secret: Secret,
    ) -> Result<bool, SecretError>;

    /// Removes a secret, at this time; says whether there was one.
    ///
    /// # Errors
    /// If that cannot be written.
    async fn remove(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        at: Timestamp,
    ) -> Result<bool, SecretError>;
}

/// Why a secret was not kept.
#[derive(Debug, Error)]
pub enum SecretError {
    /// No more are taken.
    #[error("there are {MAX_SECRETS} secrets, the most that are kept; remove some first")]
    Full,
    /// The disk did not take it.
    #[error("the secrets cannot be written: {0}")]
    Io(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_a_header_carries() {
        for good in ["12345678", "a b\"c\\d,e;f", &"x".repeat(MAX_VALUE_BYTES)] {
            assert!(SecretValue::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1234567",
            "line\nbreak",
            " blank first",
            "blank last ",
            "tab\tinside",
            "schlüssel",
        ] {
            assert!(SecretValue::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(SecretValue::try_from("x".repeat(MAX_VALUE_BYTES + 1)).is_err());
    }

    #[test]
    fn a_value_is_not_shown() {
        let value = SecretValue::try_from("hunter2hunter2".to_owned()).expect("a value");
        let secret = Secret { value, origins: vec![], created_at: Timestamp::UNIX_EPOCH };
        assert!(!format!("{secret:?}").contains("hunter2"));
        let error = SecretValue::try_from("hunter2\n".to_owned()).expect_err("a line break");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
