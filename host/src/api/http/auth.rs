//! Authentication: the caller of a request and its tenant, by bearer tokens (RFC 6750) from a file or created
//! over HTTP.

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
use jobwright_core::store::StoreError;
use subtle::{Choice, ConstantTimeEq as _};

use super::error::ApiError;
use super::problem_code::ProblemCode;
use crate::privacy;

/// The minimum length of a key, in bytes: 96 bits in base64.
const MIN_KEY_BYTES: usize = 16;

/// The header by which an administrator selects the tenant of a request.
const TENANT: &str = "jobwright-tenant";

/// The keys of the operator's file, if there is one.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys {
    /// The digests of the keys, so that all comparisons have one length and no key stays in memory.
    keys: Option<Vec<Digest>>,
}

impl ApiKeys {
    /// No file.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a file with one key per line. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// If the file cannot be read, if others than its owner can read or write it, or if it has no key or an
    /// invalid one: shorter than 16 bytes, or with characters that are not visible ASCII.
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
            // Headers have visible ASCII only, so such a key could never be sent.
            if let Some(position) = line.bytes().position(|byte| !byte.is_ascii_graphic()) {
                bail!(
                    "line {}: a key has visible ASCII characters only, without blanks; byte {} of this \
                     key is another one",
                    number + 1,
                    position + 1
                );
            }
            if line.len() < MIN_KEY_BYTES {
                bail!(
                    "line {}: a key has at least {MIN_KEY_BYTES} bytes; this one has {}",
                    number + 1,
                    line.len()
                );
            }
            keys.push(Digest::of(line.as_bytes()));
        }
        if keys.is_empty() {
            bail!("the file has no key");
        }
        Ok(Self { keys: Some(keys) })
    }

    /// Whether there is a file.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.keys.is_some()
    }

    fn contains(&self, token: &Digest) -> bool {
        // Every key is compared, in constant time, so the duration reveals nothing about the keys.
        let same = |key: &Digest| key.as_bytes().ct_eq(token.as_bytes());
        let keys = self.keys.iter().flatten();
        keys.fold(Choice::from(0), |known, key| known | same(key)).into()
    }
}

/// The caller of a request with these headers.
///
/// # Errors
/// If the host demands a key and the request has none that is valid at `now`, if it selects a tenant and its
/// key is not an administrator's, or if the keys cannot be read.
pub(in crate::api) fn identify(
    headers: &HeaderMap,
    file: &ApiKeys,
    access: &dyn AccessStore,
    now: Timestamp,
) -> Result<Caller, ApiError> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let caller = match given.map(Digest::of) {
        // Tokens are looked up by digest, so the duration reveals nothing about them.
        Some(token) if file.contains(&token) => {
            // Enough of the digest to distinguish keys, and nothing of the key.
            Caller::operator(format!("file:{}", &token.hex()[..8]), Proof::File)
        }
        Some(token) => match access.bearer(&token)?.filter(|key| key.is_valid(now)) {
            Some(key) => Caller::of(&key, token),
            None => anyone(file, access)?,
        },
        None => anyone(file, access)?,
    };
    for_tenant(caller, headers)
}

/// The caller of a request without a valid key.
fn anyone(file: &ApiKeys, access: &dyn AccessStore) -> Result<Caller, ApiError> {
    match is_open(file, access)? {
        true => Ok(Caller::operator("anyone", Proof::Open)),
        false => Err(ApiError::unauthorized()),
    }
}

/// Whether the credentials of `caller` are still valid at `now`. This is a lookup in memory, so it is checked
/// before each action and each response.
///
/// # Errors
/// If the keys cannot be read.
pub(in crate::api) fn is_valid(
    caller: &Caller,
    file: &ApiKeys,
    access: &dyn AccessStore,
    now: Timestamp,
) -> Result<bool, StoreError> {
    match &caller.proof {
        Proof::File => Ok(true),
        Proof::Open => is_open(file, access),
        Proof::Key(token) => Ok(access.bearer(token)?.is_some_and(|key| key.is_valid(now))),
    }
}

/// Whether the host demands no key, because it never had one.
///
/// # Errors
/// If the keys cannot be read.
pub(in crate::api) fn is_open(
    file: &ApiKeys,
    access: &dyn AccessStore,
) -> Result<bool, StoreError> {
    Ok(!file.has_file() && !access.has_keys()?)
}

fn for_tenant(caller: Caller, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let Some(named) = headers.get(TENANT) else { return Ok(caller) };
    let text = String::from_utf8_lossy(named.as_bytes());
    let tenant = text.parse().map_err(|error| ApiError::new(ProblemCode::InvalidName, error))?;
    if tenant != caller.tenant && !caller.may(Scope::Admin) {
        let detail = "only a key with the scope admin can select another tenant";
        return Err(ApiError::new(ProblemCode::OtherTenant, detail));
    }
    Ok(Caller { tenant, ..caller })
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Extracts the caller of an authenticated request.
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

    fn contains(keys: &ApiKeys, token: &str) -> bool {
        keys.contains(&Digest::of(token.as_bytes()))
    }

    #[test]
    fn only_keys_of_the_file_are_accepted() {
        let keys = ApiKeys::parse("# ours\n\n0123456789abcdef\nfedcba9876543210\n").unwrap();
        assert!(contains(&keys, "0123456789abcdef") && contains(&keys, "fedcba9876543210"));
        for bad in ["", "0", "0123456789abcdeF", "# ours"] {
            assert!(!contains(&keys, bad), "{bad:?}");
        }
        assert!(!contains(&ApiKeys::none(), ""));
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
    fn an_error_of_a_key_has_its_line_and_not_the_key() {
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
        let marked = ApiKeys::parse("\u{feff}0123456789abcdef\n").expect("the mark is skipped");
        assert!(contains(&marked, "0123456789abcdef"));
    }
}
