//! The caller of a request, and its tenant: bearer tokens (RFC 6750), from a file or made over HTTP.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use jobwright_core::access::{AccessStore, Caller, Proof, Scope};
use jobwright_core::clock::Timestamp;
use jobwright_core::plugin::Digest;
use subtle::{Choice, ConstantTimeEq as _};

use super::error::ApiError;
use crate::privacy;

/// The shortest key that is taken, in bytes: 96 bits in hex or base64.
const MIN_KEY_BYTES: usize = 16;

/// With which an administrator says for which tenant a request is.
const TENANT: &str = "jobwright-tenant";

/// The keys in an operator's file; none if there is no file.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys {
    /// Digests, so that all comparisons are of one length, and no key stays in memory.
    keys: Option<Vec<Digest>>,
}

impl ApiKeys {
    /// No file.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The keys in a file: one a line; empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// If the file cannot be read, can be read or written by others than its owner, holds no key, or
    /// a key that is shorter than 16 bytes or not made of visible ASCII characters.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let read = || -> anyhow::Result<String> {
            let mut file = File::open(path)?;
            privacy::check_mode(&file)?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text)
        };
        let text =
            read().with_context(|| format!("cannot use the API keys in {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the API keys in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        // Some editors begin a file with a byte-order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
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

    /// Whether there is a file.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.keys.is_some()
    }

    fn hold(&self, token: &Digest) -> bool {
        // Every key is compared, in constant time: the answer's time tells nothing about any.
        let same = |key: &Digest| key.as_bytes().ct_eq(token.as_bytes());
        let keys = self.keys.iter().flatten();
        keys.fold(Choice::from(0), |known, key| known | same(key)).into()
    }
}

/// Who sends a request with these headers.
///
/// # Errors
/// If a key is demanded and none is given that is valid at `now`, or the caller names a tenant and may
/// not.
pub(in crate::api) fn identify(
    headers: &HeaderMap,
    file: &ApiKeys,
    access: &dyn AccessStore,
    now: Timestamp,
) -> Result<Caller, ApiError> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let caller = match given.map(Digest::of) {
        // What is looked up is a digest: its time tells nothing of a token.
        Some(token) if file.hold(&token) => {
            // Enough of the digest to tell keys apart, and none of the key.
            Caller::operator(format!("file:{}", &token.hex()[..8]), Proof::File)
        }
        Some(token) => match access.bearer(&token).filter(|key| key.is_valid(now)) {
            Some(key) => Caller::of(key, token),
            None if is_open(file, access) => Caller::operator("anyone", Proof::Open),
            None => return Err(ApiError::unauthorized()),
        },
        None if is_open(file, access) => Caller::operator("anyone", Proof::Open),
        None => return Err(ApiError::unauthorized()),
    };
    for_tenant(caller, headers)
}

/// Whether what let `caller` in still does at `now`. It costs a look into memory, so it is asked again
/// before each action and each answer.
pub(in crate::api) fn holds(
    caller: &Caller,
    file: &ApiKeys,
    access: &dyn AccessStore,
    now: Timestamp,
) -> bool {
    match &caller.proof {
        Proof::File => true,
        Proof::Open => is_open(file, access),
        Proof::Key(token) => access.bearer(token).is_some_and(|key| key.is_valid(now)),
    }
}

/// Whether no key is demanded: there never was one.
pub(in crate::api) fn is_open(file: &ApiKeys, access: &dyn AccessStore) -> bool {
    !file.are_there() && !access.has_keys()
}

fn for_tenant(caller: Caller, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let Some(named) = headers.get(TENANT) else { return Ok(caller) };
    let text = String::from_utf8_lossy(named.as_bytes());
    let tenant = text.parse().map_err(|error| ApiError::bad_request("invalid_name", error))?;
    if tenant != caller.tenant && !caller.may(Scope::Admin) {
        let detail = "only a key with the scope admin may ask for another tenant";
        return Err(ApiError::forbidden("other_tenant", detail));
    }
    Ok(Caller { tenant, ..caller })
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The caller of a request that was let in.
pub(in crate::api) struct By(pub(in crate::api) Caller);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().map(Self).ok_or_else(ApiError::unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(keys: &ApiKeys, token: &str) -> bool {
        keys.hold(&Digest::of(token.as_bytes()))
    }

    #[test]
    fn only_a_key_of_the_file_passes() {
        let keys = ApiKeys::parse("# ours\n\n0123456789abcdef\nfedcba9876543210\n").unwrap();
        assert!(hold(&keys, "0123456789abcdef") && hold(&keys, "fedcba9876543210"));
        for bad in ["", "0", "0123456789abcdeF", "# ours"] {
            assert!(!hold(&keys, bad), "{bad:?}");
        }
        assert!(!hold(&ApiKeys::none(), ""));
    }

    #[test]
    fn a_token_is_read_from_its_header() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for none in ["", "Bearer", "Basic abc", "Bearerabc"] {
            assert_eq!(bearer(none.as_bytes()), None, "{none}");
        }
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
        let marked = ApiKeys::parse("\u{feff}0123456789abcdef\n").expect("the mark is no key's");
        assert!(hold(&marked, "0123456789abcdef"));
    }
}
