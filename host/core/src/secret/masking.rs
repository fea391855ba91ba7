//! Covers secrets in what comes back: a server that repeats what it was sent would else tell the
//! guest.
//!
//! Found are a secret as it is and as JSON writes it, and the credentials of `Authorization: Basic`
//! that it was made part of. A server that changes it in any other way, and tells, is not who a secret
//! should have been bound to.

use std::fmt;

use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use super::SecretValue;

/// What must not be seen.
#[derive(Clone, Default)]
pub struct Mask {
    texts: Vec<Vec<u8>>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} texts)", self.texts.len())
    }
}

impl Mask {
    /// Whether there is nothing to cover.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    pub(super) fn add(&mut self, text: &[u8]) {
        if !self.texts.iter().any(|known| known == text) {
            self.texts.push(text.to_vec());
        }
    }

    pub(super) fn add_secret(&mut self, value: &SecretValue) {
        self.add(value.reveal().as_bytes());
        let quoted = serde_json::Value::from(value.reveal()).to_string();
        self.add(quoted.trim_matches('"').as_bytes());
        // As some writers of JSON do, for the sake of HTML.
        self.add(quoted.trim_matches('"').replace('/', "\\/").as_bytes());
    }

    /// Writes `*` over every occurrence, each byte.
    pub fn cover(&self, text: &mut [u8]) {
        // All are looked for before any is covered: one may overlap another.
        let found: Vec<_> = self
            .texts
            .iter()
            .flat_map(|hidden| {
                memmem::find_iter(text, hidden).map(|start| start..start + hidden.len())
            })
            .collect();
        for place in found {
            text[place].fill(b'*');
        }
    }

    /// The same in the values of headers. A header whose very name tells is removed.
    pub fn cover_headers(&self, headers: &mut HeaderMap) {
        if self.is_empty() {
            return;
        }
        let small: Vec<_> = self.texts.iter().map(|text| text.to_ascii_lowercase()).collect();
        let tells =
            |name: &str| small.iter().any(|text| memmem::find(name.as_bytes(), text).is_some());
        let telling: Vec<_> = headers.keys().filter(|name| tells(name.as_str())).cloned().collect();
        for name in telling {
            headers.remove(name);
        }
        for value in headers.values_mut() {
            let mut text = value.as_bytes().to_vec();
            self.cover(&mut text);
            if text != value.as_bytes()
                && let Ok(covered) = HeaderValue::from_maybe_shared(text)
            {
                *value = covered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(secrets: &[&str], text: &str) -> String {
        let mut mask = Mask::default();
        for secret in secrets {
            mask.add_secret(&secret.to_string().try_into().expect("a value"));
        }
        let mut bytes = text.as_bytes().to_vec();
        mask.cover(&mut bytes);
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn every_occurrence_is_covered_in_its_length() {
        assert_eq!(covered(&["12345678"], "12345678 a 1234567 1234567812345678"), {
            "******** a 1234567 ****************"
        });
        assert_eq!(covered(&[], "12345678"), "12345678");
    }

    #[test]
    fn secrets_that_overlap_are_covered_both() {
        assert_eq!(covered(&["abcdefgh", "efghijkl"], "<abcdefghijkl>"), "<************>");
        assert_eq!(covered(&["abcdefgh", "abcdefghijkl"], "<abcdefghijkl>"), "<************>");
    }

    #[test]
    fn a_secret_is_found_as_json_writes_it() {
        assert_eq!(covered(&[r#"a"b\c/def"#], r#"{"k":"a\"b\\c/def"}"#), {
            r#"{"k":"***********"}"#
        });
        assert_eq!(covered(&["abc/defgh"], r#"{"k":"abc\/defgh"}"#), r#"{"k":"**********"}"#);
    }

    #[test]
    fn headers_are_covered_too_and_their_names() {
        let mut mask = Mask::default();
        mask.add_secret(&"S3cretValue".to_owned().try_into().expect("a value"));
        let mut headers = HeaderMap::new();
        headers.insert("x-echo", HeaderValue::from_static("Bearer S3cretValue"));
        headers.insert("x-s3cretvalue", HeaderValue::from_static("1"));
        headers.insert("x-else", HeaderValue::from_static("kept"));
        mask.cover_headers(&mut headers);
        assert_eq!(headers["x-echo"], "Bearer ***********");
        assert_eq!((headers.len(), &headers["x-else"]), (2, &HeaderValue::from_static("kept")));
    }
}
