//! The rule that names follow: plugins, queues.

use thiserror::Error;

pub use crate::text::shorten;

/// The longest name, in bytes: fits a file name and a table cell with room to spare.
pub const MAX_NAME_BYTES: usize = 64;

/// A name that breaks the rule `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a name: use 1 to 64 characters a-z, 0-9, `.`, `_` and `-`, the first of them a \
     letter or digit"
)]
pub struct InvalidName(String);

/// Checks `name` against `[a-z0-9][a-z0-9._-]{0,63}`, which is safe in paths, URLs and terminals.
///
/// # Errors
/// [`InvalidName`], which shows the (shortened) name.
pub fn check(name: &str) -> Result<(), InvalidName> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ok = match name.as_bytes() {
        [first, rest @ ..] => {
            plain(*first)
                && rest.len() < MAX_NAME_BYTES
                && rest.iter().all(|b| plain(*b) || matches!(b, b'.' | b'_' | b'-'))
        }
        [] => false,
    };
    if ok { Ok(()) } else { Err(InvalidName(shorten(name))) }
}

/// Makes a string newtype whose only constructor applies [`check`].
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::name::InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::name::check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::name::InvalidName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use name_type;

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_are_lower_case_and_safe_in_a_path() {
        for good in ["a", "0", "word-count", "a.b_c-d", &"x".repeat(64)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "-x", "A", "a/b", "a\0", "ä", "..", &"x".repeat(65)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
