//! The value of a secret, which is never shown.

use std::fmt::{self, Debug};

use thiserror::Error;

/// The shortest value, in bytes: a shorter one can be guessed, and masking it would damage
/// responses that contain it by chance.
pub const MIN_VALUE_BYTES: usize = 8;

/// The longest value, in bytes: servers take headers of 8 KiB, and the rest of the header needs room.
pub const MAX_VALUE_BYTES: usize = 4 << 10;

/// The text of a secret, of visible ASCII characters and inner blanks: what any header carries.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

/// A string that cannot be a secret. The message does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidValue {
    /// Too short or too long.
    #[error("a secret has {MIN_VALUE_BYTES} to {MAX_VALUE_BYTES} bytes; this one has {0}")]
    Length(usize),
    /// It has a byte that no header can carry.
    #[error(
        "a secret is made of visible ASCII characters, and spaces between them; byte {0} of this one \
         is neither"
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
