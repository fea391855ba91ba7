//! Whether jobs of a plugin may see the same clock and random bytes at every attempt.

use serde::{Deserialize, Serialize};

/// Whether jobs are deterministic: `false`, `"optional"` or `true` in JSON.
///
/// A guest that makes tokens or nonces of its random bytes must not make the same ones again, so a
/// submitter cannot decide that alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub enum Determinism {
    /// No job is deterministic.
    #[default]
    Never,
    /// Jobs that request it are deterministic.
    Optional,
    /// Every job is deterministic.
    Always,
}

impl Determinism {
    /// Whether a job is deterministic; `asked` is whether it requests that. `None` if it must not
    /// request it.
    #[must_use]
    pub fn decide(self, asked: bool) -> Option<bool> {
        match self {
            Self::Never => (!asked).then_some(false),
            Self::Optional => Some(asked),
            Self::Always => Some(true),
        }
    }

    /// Whether nothing is granted.
    #[must_use]
    pub fn is_never(&self) -> bool {
        *self == Self::Never
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Fixed(bool),
    Word(Word),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Optional,
}

impl From<Written> for Determinism {
    fn from(written: Written) -> Self {
        match written {
            Written::Fixed(false) => Self::Never,
            Written::Word(Word::Optional) => Self::Optional,
            Written::Fixed(true) => Self::Always,
        }
    }
}

impl From<Determinism> for Written {
    fn from(determinism: Determinism) -> Self {
        match determinism {
            Determinism::Never => Self::Fixed(false),
            Determinism::Optional => Self::Word(Word::Optional),
            Determinism::Always => Self::Fixed(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn determinism_is_written_as_a_boolean_or_a_word() {
        for (text, granted, unasked, asked) in [
            ("false", Determinism::Never, Some(false), None),
            ("\"optional\"", Determinism::Optional, Some(false), Some(true)),
            ("true", Determinism::Always, Some(true), Some(true)),
        ] {
            assert_eq!(serde_json::from_str::<Determinism>(text).expect(text), granted);
            assert_eq!(serde_json::to_string(&granted).expect(text), text);
            assert_eq!((granted.decide(false), granted.decide(true)), (unasked, asked));
        }
        assert!(serde_json::from_str::<Determinism>("\"maybe\"").is_err());
    }
}
