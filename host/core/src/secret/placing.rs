//! Puts secrets where a request holds their placeholders: in the values of headers, and in what
//! `Authorization: Basic` encodes; nowhere else. Pure.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue, IF_RANGE, RANGE};
use http::request::Parts;
use memchr::memmem;
use thiserror::Error;

use super::masking::Mask;
use super::{Secret, SecretValue};
use crate::grant::SecretName;

/// How every placeholder begins.
const BEGIN: &[u8] = b"jobwright-secret(";

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// What all values of headers may take once secrets stand in them, in bytes: more than servers take. A
/// placeholder is short, so without a bound a guest could make the host write megabytes.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Headers that ask for a part of something: whoever chooses where a secret is cut is told it piece by
/// piece, and no piece is found.
const PARTS: [HeaderName; 3] = [RANGE, IF_RANGE, HeaderName::from_static("a-im")];

/// Why a request is not sent to where a secret may be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Misplaced {
    /// In the address, which servers log and pass on.
    #[error("the secret `{0}` stands in its path or query: secrets are for headers only")]
    InAddress(SecretName),
    /// The plugin may not use it.
    #[error("the secret `{0}` is not granted to the plugin")]
    NotGranted(SecretName),
    /// There is none of this name.
    #[error("the secret `{0}` is granted and was never set: use `jobwright secret set {0}`")]
    NotSet(SecretName),
    /// It belongs to someone else.
    #[error("the secret `{0}` is not for this origin")]
    Elsewhere(SecretName),
    /// The response would be a part, in which secrets are not found.
    #[error("the header `{0}` asks for a part, in which a secret of this origin might be cut")]
    Part(HeaderName),
    /// There are too many of them.
    #[error("with its secrets, its headers take more than {MAX_HEADER_BYTES} bytes")]
    TooLong,
}

/// Replaces every placeholder in the headers of a request by the secret that `find` knows, as far as
/// these were `granted`.
///
/// Answers what must be masked in the response: all that was granted for where the request goes, placed
/// or not, for a server may remember what it was sent before. If that is anything, the response is asked
/// for whole and without an encoding, since else secrets would not be found.
///
/// # Errors
/// [`Misplaced`], the request half changed.
pub fn place(
    request: &mut Parts,
    granted: &BTreeSet<SecretName>,
    find: impl Fn(&SecretName) -> Option<Secret>,
) -> Result<Mask, Misplaced> {
    let address = request.uri.path_and_query().map_or("", |address| address.as_str());
    // Parentheses may stand in an address as they are or encoded; nobody encodes letters.
    let address = address.replace("%28", "(").replace("%29", ")");
    if let Some((_, _, name)) = next(address.as_bytes()) {
        return Err(Misplaced::InAddress(name));
    }
    let uri = &request.uri;
    let belongs = |secret: &Secret| secret.origins.iter().any(|origin| origin.matches(uri));
    let mut mask = Mask::default();
    for secret in granted.iter().filter_map(&find).filter(belongs) {
        mask.add_secret(&secret.value);
    }
    if !mask.is_empty() {
        if let Some(name) = PARTS.into_iter().find(|name| request.headers.contains_key(name)) {
            return Err(Misplaced::Part(name));
        }
        request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let value = |name: &SecretName| -> Result<SecretValue, Misplaced> {
        if !granted.contains(name) {
            return Err(Misplaced::NotGranted(name.clone()));
        }
        let secret = find(name).ok_or_else(|| Misplaced::NotSet(name.clone()))?;
        if belongs(&secret) { Ok(secret.value) } else { Err(Misplaced::Elsewhere(name.clone())) }
    };
    let mut length = 0;
    for (name, held) in &mut request.headers {
        let credentials = (name == AUTHORIZATION).then(|| basic(held.as_bytes())).flatten();
        let replaced = match credentials {
            Some(plain) => replaced(&plain, &value)?
                .map(|plain| format!("Basic {}", STANDARD.encode(plain)).into_bytes()),
            None => replaced(held.as_bytes(), &value)?,
        };
        if let Some(text) = replaced {
            length += text.len();
            if length > MAX_HEADER_BYTES {
                return Err(Misplaced::TooLong);
            }
            *held = HeaderValue::from_maybe_shared(text).map_err(|_| Misplaced::TooLong)?;
            held.set_sensitive(true);
        }
    }
    Ok(mask)
}

/// `text` with secrets for its placeholders; `None` if it has none.
fn replaced(
    text: &[u8],
    value: &impl Fn(&SecretName) -> Result<SecretValue, Misplaced>,
) -> Result<Option<Vec<u8>>, Misplaced> {
    let (mut whole, mut rest) = (Vec::new(), text);
    while let Some((start, end, name)) = next(rest) {
        let value = value(&name)?;
        whole.extend_from_slice(&rest[..start]);
        whole.extend_from_slice(value.reveal().as_bytes());
        rest = &rest[end..];
        if whole.len() > MAX_HEADER_BYTES {
            return Err(Misplaced::TooLong);
        }
    }
    if rest.len() == text.len() {
        return Ok(None);
    }
    whole.extend_from_slice(rest);
    Ok(Some(whole))
}

/// The next placeholder: where it starts and ends, and what it names.
fn next(text: &[u8]) -> Option<(usize, usize, SecretName)> {
    memmem::find_iter(text, BEGIN).find_map(|start| {
        let inner = &text[start + BEGIN.len()..];
        let length = inner.iter().take(MAX_NAME_BYTES + 1).position(|byte| *byte == b')')?;
        let name = std::str::from_utf8(&inner[..length]).ok()?.parse().ok()?;
        Some((start, start + BEGIN.len() + length + 1, name))
    })
}

/// What the credentials of RFC 7617 say, decoded; `None` for any others.
fn basic(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    let is_basic = scheme.eq_ignore_ascii_case(b"basic ");
    is_basic.then(|| STANDARD.decode(encoded.trim_ascii()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const VALUE: &str = "s3cr3t-v4lue";

    fn find(name: &SecretName) -> Option<Secret> {
        (name.as_str() != "UNSET").then(|| Secret {
            value: VALUE.to_owned().try_into().expect("a value"),
            origins: vec!["https://api.example.com".parse().expect("an origin")],
            created_at: Timestamp::UNIX_EPOCH,
        })
    }

    fn request(uri: &str, header: &str, value: &str) -> Parts {
        let request = http::Request::get(uri).header(header, value).body(()).expect("a request");
        request.into_parts().0
    }

    /// What becomes of a header.
    fn placed(uri: &str, header: &str, value: &str) -> Result<(String, Mask), Misplaced> {
        let granted = ["KEY", "UNSET"].map(|name| name.parse().expect("a name")).into();
        let mut request = request(uri, header, value);
        let mask = place(&mut request, &granted, find)?;
        Ok((request.headers[header].to_str().expect("text").to_owned(), mask))
    }

    const HOME: &str = "https://api.example.com/v1?q";

    #[test]
    fn placeholders_in_headers_are_replaced() {
        for (header, value, expected) in [
            ("authorization", "Bearer jobwright-secret(KEY)", "Bearer s3cr3t-v4lue"),
            ("x-a", "jobwright-secret(KEY)jobwright-secret(KEY)", "s3cr3t-v4lues3cr3t-v4lue"),
            ("x-a", "jobwright-secret(jobwright-secret(KEY)", "jobwright-secret(s3cr3t-v4lue"),
        ] {
            let (text, mask) = placed(HOME, header, value).expect("placed");
            assert_eq!(text, expected);
            assert!(!mask.is_empty());
        }
    }

    #[test]
    fn all_that_is_for_where_it_goes_is_masked_placed_or_not() {
        let masked = |uri: &str| !placed(uri, "x-a", "a").expect("nothing to place").1.is_empty();
        assert_eq!((masked(HOME), masked("https://other.example.com/")), (true, false));
    }

    #[test]
    fn parts_are_asked_for_only_where_no_secret_is_for() {
        for name in ["range", "if-range", "a-im"] {
            let refused = placed(HOME, name, "bytes=0-1").expect_err(name);
            assert_eq!(refused, Misplaced::Part(HeaderName::from_static(name)));
            placed("https://other.example.com/", name, "bytes=0-1").expect(name);
        }
    }

    #[test]
    fn so_are_those_in_basic_credentials_whose_encoding_is_masked_too() {
        // Of three bytes, so that what is encoded of the secret begins with its own character.
        let given = format!("basic {}", STANDARD.encode("me:jobwright-secret(KEY)"));
        let (text, mask) = placed(HOME, "authorization", &given).expect("placed");
        let encoded = STANDARD.encode("me:s3cr3t-v4lue");
        assert_eq!(text, format!("Basic {encoded}"));
        let mut echoed = format!("<{text}> <{VALUE}>").into_bytes();
        mask.cover(&mut echoed);
        let stars = |n| "*".repeat(n);
        let (own, rest) = (&encoded[..4], stars(encoded.len() - 4));
        let expected = format!("<Basic {own}{rest}> <{}>", stars(VALUE.len()));
        assert_eq!(String::from_utf8_lossy(&echoed), expected);
    }

    #[test]
    fn the_response_is_asked_for_unencoded_where_a_secret_is_for() {
        let granted = ["KEY".parse().expect("a name")].into();
        let encoding = |uri: &str| {
            let mut request = request(uri, "x-a", "a");
            request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            place(&mut request, &granted, find).expect("placed");
            request.headers[ACCEPT_ENCODING].clone()
        };
        assert_eq!((encoding("https://other.example.com/"), encoding(HOME)), {
            (HeaderValue::from_static("gzip"), HeaderValue::from_static("identity"))
        });
    }

    #[test]
    fn what_is_no_placeholder_stays() {
        for text in ["jobwright-secret(", "jobwright-secret()", "jobwright-secret(A-B)", "KEY"] {
            let (same, _) = placed(HOME, "x-a", text).expect("nothing to place");
            assert_eq!(same, text);
        }
    }

    #[test]
    fn a_secret_goes_nowhere_else() {
        let name = |text: &str| text.parse::<SecretName>().expect("a name");
        let key = "jobwright-secret(KEY)";
        for elsewhere in [
            "http://api.example.com/",
            "https://api.example.com:444/",
            "https://api.example.com.evil.example/",
            "https://example.com/",
        ] {
            let refused = placed(elsewhere, "x-a", key).expect_err(elsewhere);
            assert_eq!(refused, Misplaced::Elsewhere(name("KEY")));
        }
        for address in ["/jobwright-secret(KEY)", "/?k=jobwright-secret%28KEY%29"] {
            let uri = format!("https://api.example.com{address}");
            let refused = placed(&uri, "x-a", "a").expect_err(address);
            assert_eq!(refused, Misplaced::InAddress(name("KEY")));
        }
        let refused = |text: &str| placed(HOME, "x-a", text).expect_err(text);
        assert_eq!(refused("jobwright-secret(OTHER)"), Misplaced::NotGranted(name("OTHER")));
        assert_eq!(refused("jobwright-secret(UNSET)"), Misplaced::NotSet(name("UNSET")));
        assert_eq!(refused(&key.repeat(10_000)), Misplaced::TooLong);
    }
}
