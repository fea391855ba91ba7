//! Puts secrets where a request holds their placeholders: in the values of headers, and in what
//! `Authorization: Basic` encodes; nowhere else. Pure.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT_CHARSET, ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue, IF_RANGE, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, Uri};
use memchr::memmem;
use thiserror::Error;

use super::bound::Secret;
use super::masking::Mask;
use super::value::SecretValue;
use crate::grant::secret_name::SecretName;

/// How every placeholder begins.
const BEGIN: &[u8] = b"jobwright-secret(";

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The maximum size of all values of headers with their secrets, in bytes: more than servers accept. A
/// placeholder is short, so without a bound a guest could make the host write megabytes.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Headers that ask for a part of something: a guest that chooses where a secret is cut would read it
/// piece by piece, and no piece would be found.
const PARTS: [HeaderName; 3] = [RANGE, IF_RANGE, HeaderName::from_static("a-im")];

/// Why a request with a placeholder is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Misplaced {
    /// It is in the address, which servers log and pass on.
    #[error("its path or query contains the secret `{0}`: use secrets in headers only")]
    InAddress(SecretName),
    /// The plugin may not use it.
    #[error("the secret `{0}` is not granted to the plugin")]
    NotGranted(SecretName),
    /// There is none of this name.
    #[error("the secret `{0}` is granted but not set: use `jobwright secret set {0}`")]
    NotSet(SecretName),
    /// It is not bound to this origin.
    #[error("the secret `{0}` is not bound to this origin")]
    Elsewhere(SecretName),
    /// The response would be a part, in which secrets are not found.
    #[error(
        "the header `{0}` requests a part of the response, in which a secret could be truncated \
         and then not masked: leave the header out"
    )]
    Part(HeaderName),
    /// There are too many of them.
    #[error("its headers exceed {MAX_HEADER_BYTES} bytes with their secrets")]
    TooLong,
}

/// The secrets that matter to one request.
#[derive(Debug)]
pub struct Secrets<'a, F> {
    /// Those that the plugin may use.
    pub granted: &'a BTreeSet<SecretName>,
    /// Finds one as it is now.
    pub find: F,
    /// All values that the host of the request may know, granted or not, as they are or were.
    pub hidden: &'a [SecretValue],
}

impl<F: Fn(&SecretName) -> Option<Secret>> Secrets<'_, F> {
    /// A secret that may be sent to `uri`.
    fn value(&self, name: &SecretName, uri: &Uri) -> Result<SecretValue, Misplaced> {
        if !self.granted.contains(name) {
            return Err(Misplaced::NotGranted(name.clone()));
        }
        let secret = (self.find)(name).ok_or_else(|| Misplaced::NotSet(name.clone()))?;
        let belongs = secret.origins.iter().any(|origin| origin.matches(uri));
        if belongs { Ok(secret.value) } else { Err(Misplaced::Elsewhere(name.clone())) }
    }
}

/// Replaces every placeholder in the headers of a request by the secret that it names, as far as that is
/// granted and for this origin.
///
/// Returns what must be masked in the response: every value that the host of the request may know, for a
/// server may remember what it was sent before, by another plugin too. If there is any, the response is
/// asked for whole, without an encoding and in no charset of the guest's choice, in which it would not be
/// found.
///
/// # Errors
/// [`Misplaced`], the request half changed.
pub fn place(
    request: &mut Parts,
    secrets: &Secrets<'_, impl Fn(&SecretName) -> Option<Secret>>,
) -> Result<Mask, Misplaced> {
    refuse_in_address(&request.uri)?;
    let mask = Mask::of(secrets.hidden);
    if !mask.is_empty() {
        ask_for_plain_whole(&mut request.headers)?;
    }
    let uri = &request.uri;
    let value = |name: &SecretName| secrets.value(name, uri);
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

fn refuse_in_address(uri: &Uri) -> Result<(), Misplaced> {
    let address = uri.path_and_query().map_or("", |address| address.as_str());
    // Clients encode the parentheses of an address or not; they do not encode letters.
    let address = address.replace("%28", "(").replace("%29", ")");
    match next(address.as_bytes()) {
        Some((_, _, name)) => Err(Misplaced::InAddress(name)),
        None => Ok(()),
    }
}

/// Asks for a response in which secrets are found: the whole of it, as it is.
fn ask_for_plain_whole(headers: &mut HeaderMap) -> Result<(), Misplaced> {
    if let Some(name) = PARTS.into_iter().find(|name| headers.contains_key(name)) {
        return Err(Misplaced::Part(name));
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.remove(ACCEPT_CHARSET);
    Ok(())
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

/// The decoded credentials of RFC 7617; `None` for any others.
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

    fn secrets<'a>(
        granted: &'a BTreeSet<SecretName>,
        hidden: &'a [SecretValue],
    ) -> Secrets<'a, impl Fn(&SecretName) -> Option<Secret>> {
        Secrets { granted, find, hidden }
    }

    /// What the host of an address may know.
    fn hidden(uri: &str) -> Vec<SecretValue> {
        let uri = uri.parse().expect("a URI");
        let secret = find(&"KEY".parse().expect("a name")).expect("a secret");
        let is_known = secret.origins.iter().any(|origin| origin.has_host_of(&uri));
        if is_known { vec![secret.value] } else { vec![] }
    }

    /// A header with its placeholders replaced.
    fn placed(uri: &str, header: &str, value: &str) -> Result<(String, Mask), Misplaced> {
        let granted = ["KEY", "UNSET"].map(|name| name.parse().expect("a name")).into();
        let mut request = request(uri, header, value);
        let mask = place(&mut request, &secrets(&granted, &hidden(uri)))?;
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
    fn range_requests_are_refused_only_where_a_secret_is_known() {
        for name in ["range", "if-range", "a-im"] {
            for known in [HOME, "http://api.example.com:8080/"] {
                let refused = placed(known, name, "bytes=0-1").expect_err(name);
                assert_eq!(refused, Misplaced::Part(HeaderName::from_static(name)));
            }
            placed("https://other.example.com/", name, "bytes=0-1").expect(name);
        }
    }

    #[test]
    fn placeholders_in_basic_credentials_are_replaced_and_their_encoding_is_masked() {
        // Of three bytes, so that what is encoded of the secret begins with its own character.
        let given = format!("basic {}", STANDARD.encode("me:jobwright-secret(KEY)"));
        let (text, mask) = placed(HOME, "authorization", &given).expect("placed");
        let encoded = STANDARD.encode("me:s3cr3t-v4lue");
        assert_eq!(text, format!("Basic {encoded}"));
        let mut echoed = format!("<{text}> <{VALUE}>").into_bytes();
        mask.cover(&mut echoed, &|| true);
        let stars = |n| "*".repeat(n);
        let (own, rest) = (&encoded[..4], stars(encoded.len() - 4));
        let expected = format!("<Basic {own}{rest}> <{}>", stars(VALUE.len()));
        assert_eq!(String::from_utf8_lossy(&echoed), expected);
    }

    #[test]
    fn responses_are_requested_unencoded_where_a_secret_is_known() {
        let granted = BTreeSet::new();
        let asked = |uri: &str| {
            let mut request = request(uri, "accept-charset", "utf-7");
            request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            place(&mut request, &secrets(&granted, &hidden(uri))).expect("placed");
            (request.headers[ACCEPT_ENCODING].clone(), request.headers.contains_key(ACCEPT_CHARSET))
        };
        assert_eq!(asked("https://other.example.com/"), (HeaderValue::from_static("gzip"), true));
        for known in [HOME, "http://api.example.com:8080/"] {
            assert_eq!(asked(known), (HeaderValue::from_static("identity"), false));
        }
    }

    #[test]
    fn text_that_is_not_a_placeholder_is_not_changed() {
        for text in ["jobwright-secret(", "jobwright-secret()", "jobwright-secret(A-B)", "KEY"] {
            let (same, _) = placed(HOME, "x-a", text).expect("nothing to place");
            assert_eq!(same, text);
        }
    }

    #[test]
    fn a_secret_is_not_sent_to_another_origin() {
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
