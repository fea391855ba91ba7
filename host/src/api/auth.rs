//! Who may ask: API keys from a file, as bearer tokens (RFC 6750).

use std::path::Path;

use anyhow::{Context as _, bail};
use axum::http::{HeaderMap, header};
use jobwright_core::plugin::Digest;
use subtle::{Choice, ConstantTimeEq as _};

use super::error::ApiError;

/// The shortest key that is taken, in bytes: 96 bits in hex or base64.
const MIN_KEY_BYTES: usize = 16;

/// The keys that may ask; none if everyone may.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys {
    /// Digests, so that all comparisons are of one length, and no key stays in memory.
    keys: Option<Vec<Digest>>,
}

impl ApiKeys {
    /// Everyone may ask.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The keys in a file: one a line; empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// If the file cannot be read, holds no key, or a key that is shorter than 16 bytes or not
    /// made of visible ASCII characters.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the API keys in {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the API keys in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            // No header carries anything else, so such a key would never be accepted.
            if let Some(place) = line.bytes().position(|byte| !byte.is_ascii_graphic()) {
                bail!(
                    "line {}: a key is made of visible ASCII characters, without blanks; byte {} \
                     of this one is none",
                    number + 1,
                    place + 1
                );
            }
            if line.len() < MIN_KEY_BYTES {
                bail!(
                    "line {}: a key is at least {MIN_KEY_BYTES} bytes long; this one has {}",
                    number + 1,
                    line.len()
                );
            }
            keys.push(Digest::of(line.as_bytes()));
        }
        if keys.is_empty() {
            bail!("there is no key in it");
        }
        Ok(Self { keys: Some(keys) })
    }

    /// Whether a key is demanded.
    #[must_use]
    pub fn are_demanded(&self) -> bool {
        self.keys.is_some()
    }

    /// Lets a request pass that carries a key, if one is demanded.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let digest = Digest::of(given.unwrap_or_default());
        // Every key is compared, in constant time: the answer's time tells nothing about any.
        let known = keys
            .iter()
            .fold(Choice::from(0), |known, key| known | key.as_bytes().ct_eq(digest.as_bytes()));
        if given.is_some() && bool::from(known) { Ok(()) } else { Err(ApiError::unauthorized()) }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &ApiKeys, authorization: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        keys.check(&headers).is_ok()
    }

    #[test]
    fn only_a_key_of_the_file_passes() {
        let keys = ApiKeys::parse("# ours\n\n0123456789abcdef\nfedcba9876543210\n").unwrap();
        assert!(check(&keys, Some("Bearer 0123456789abcdef")));
        assert!(check(&keys, Some("bearer  fedcba9876543210")));
        for bad in
            [None, Some(""), Some("Bearer "), Some("Basic 0123456789abcdef"), Some("Bearer 0")]
        {
            assert!(!check(&keys, bad), "{bad:?}");
        }
        assert!(check(&ApiKeys::none(), None));
    }

    #[test]
    fn a_file_without_a_usable_key_is_refused() {
        for bad in ["", "# nothing\n", "short"] {
            assert!(ApiKeys::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_with_what_no_header_carries_is_refused_by_its_line_and_not_told() {
        for bad in [
            "0123456789abcdef and more",
            "\t0123456789abcdef",
            "0123456789abcdef ",
            "01234567\t89abcdef",
            "0123456789abcdef\u{7f}",
            "0123456789abcdef\u{1b}[0m",
            "0123456789abcdeä",
            "\u{feff}0123456789abcdef",
        ] {
            let error = ApiKeys::parse(&format!("# ours\n{bad}\n")).expect_err(bad).to_string();
            assert!(error.starts_with("line 2: ") && !error.contains("0123"), "{error}");
        }
        assert!(ApiKeys::parse("  # ours\r\n0123456789abcdef\r\n \t\r\n").is_ok());
    }
}
