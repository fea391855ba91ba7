//! Resume tokens: the position of a subscriber in the stream, as text that the client stores and
//! returns.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use thiserror::Error;

use super::position::Position;

/// The changes that a subscriber has seen: the latest position of each writer. Opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResumeToken(BTreeMap<u32, Position>);

/// The maximum number of writers in a token: more than the starts of hosts within a retention.
const MOST_WRITERS: usize = 4096;

/// A string that is not a resume token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the resume token is not valid: leave it out to start at the present")]
pub struct InvalidToken;

impl ResumeToken {
    /// The subscriber has seen the change at `position`, and all before it of the same writer.
    pub fn saw(&mut self, position: Position) {
        let latest = self.0.entry(position.writer()).or_insert(position);
        *latest = position.max(*latest);
    }

    /// The highest position of all. Where only one writer is at work at a time and each has a higher number
    /// than the one before, as in an embedded store, all changes that were seen are up to it.
    #[must_use]
    pub fn latest(&self) -> Position {
        self.0.values().copied().max().unwrap_or_default()
    }

    /// Whether the change at `position` was seen.
    #[must_use]
    pub fn has_seen(&self, position: Position) -> bool {
        self.0.get(&position.writer()).is_some_and(|latest| position <= *latest)
    }
}

impl From<Position> for ResumeToken {
    fn from(position: Position) -> Self {
        let mut token = Self::default();
        token.saw(position);
        token
    }
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> =
            self.0.values().flat_map(|position| position.number().to_be_bytes()).collect();
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for ResumeToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if text.len() > MOST_WRITERS * 11 {
            return Err(InvalidToken);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken)?;
        let (positions, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(InvalidToken);
        }
        let mut token = Self::default();
        for position in positions {
            let position = Position::from_number(u64::from_be_bytes(*position));
            if token.0.insert(position.writer(), position).is_some() {
                return Err(InvalidToken);
            }
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let mut token = ResumeToken::default();
        for (writer, count) in [(1, 5), (3, 1), (1, 2)] {
            token.saw(Position::from_number(Position::start_of(writer).number() + count));
        }
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(token.latest().writer(), 3);
        assert!(token.has_seen(Position::from_number(Position::start_of(1).number() + 5)));
        assert!(!token.has_seen(Position::from_number(Position::start_of(1).number() + 6)));
        assert!(!token.has_seen(Position::start_of(2)), "of a writer of which it saw nothing");
        assert_eq!(String::new().parse(), Ok(ResumeToken::default()));
    }

    #[test]
    fn other_strings_are_not_tokens() {
        for text in ["x", "AAAA", "not a token", "AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(text.parse::<ResumeToken>(), Err(InvalidToken), "{text}");
        }
    }
}
