//! `Idempotency-Key`: what makes a request a repetition of an earlier one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::{HeaderMap, Uri};
use jobwright_core::plugin::Digest;
use serde_json::value::RawValue;

use crate::api::http::error::ApiError;
use crate::api::http::fields::Fields;

/// The longest key, in bytes: what other interfaces take.
const MAX_KEY_BYTES: usize = 255;

/// The member of a job that carries its key.
const FIELD: &str = "idempotency_key";

/// The key in the header of a request, if it has one: a string (RFC 8941, section 3.3.3), as the draft of
/// the standard demands, or the same without quotes, as most clients send it.
///
/// # Errors
/// If there are several, or it is no key.
pub(super) fn of_headers(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let invalid = |detail: String| ApiError::bad_request("invalid_idempotency_key", detail);
    let mut values = headers.get_all("idempotency-key").into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("the request has more than one Idempotency-Key: send one".to_owned()));
    }
    let key = key(value.to_str().unwrap_or_default());
    key.map(Some).ok_or_else(|| invalid(format!("an Idempotency-Key is {}", shape())))
}

/// The key that a job carries itself, which must not contradict that of its request's header.
pub(super) fn of_fields(fields: &mut Fields, header: Option<&str>) -> Option<String> {
    let text: String = fields.take(FIELD, "a string")?;
    let Some(key) = key(&text) else {
        fields.wrong(FIELD, format!("is not a key: use {}", shape()));
        return None;
    };
    if header.is_some_and(|header| header != key) {
        fields.wrong(FIELD, "differs from the header Idempotency-Key: give one");
        return None;
    }
    Some(key)
}

/// The key that a client means by `text`: `"q"` and `q` are the same.
fn key(text: &str) -> Option<String> {
    let text = text.trim();
    let key = match text.strip_prefix('"') {
        None => Some(text.to_owned()),
        Some(quoted) => unquoted(quoted),
    };
    key.filter(|key| is_key(key))
}

fn shape() -> String {
    format!("1 to {MAX_KEY_BYTES} visible ASCII characters")
}

fn is_key(key: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b))
}

/// The text of a string of structured fields, after its first quote. Parameters behind it say nothing here.
fn unquoted(quoted: &str) -> Option<String> {
    let (mut key, mut chars) = (String::new(), quoted.chars());
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => key.push(c),
        }
    }
    let rest = chars.as_str().trim_start();
    (rest.is_empty() || rest.starts_with(';')).then_some(key)
}

/// What makes two requests the same: where they go and what they carry.
pub(super) fn of_request(uri: &Uri, content_type: &str, body: &[u8]) -> Digest {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    fingerprint(target, content_type, body)
}

/// As [`of_request`], of a job among many: as if it had come alone.
pub(super) fn of_job(text: &str) -> Digest {
    // The path as the router under `/v1` sees it.
    fingerprint("/jobs", "application/json", &without_key(text.as_bytes()))
}

/// A job in JSON without its key, as it is where the header has the key.
pub(super) fn without_key(body: &[u8]) -> Cow<'_, [u8]> {
    let parts = std::str::from_utf8(body).ok().and_then(around_key);
    parts.map_or(Cow::Borrowed(body), |(before, after)| {
        Cow::Owned([before.as_bytes(), after.as_bytes()].concat())
    })
}

/// What stands before and behind the key's member of a JSON object, without the comma beside it.
fn around_key(text: &str) -> Option<(&str, &str)> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).ok()?;
    let value = members.get(FIELD)?.get();
    let start = value.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let (before, after) = (text.get(..start)?, text.get(start + value.len()..)?);
    let before = before.trim_end().strip_suffix(':')?.trim_end();
    let before = before.strip_suffix('"')?.strip_suffix(FIELD)?.strip_suffix('"')?.trim_end();
    Some(match before.strip_suffix(',') {
        Some(before) => (before, after),
        None => (before, after.trim_start().trim_start_matches(',').trim_start()),
    })
}

fn fingerprint(target: &str, content_type: &str, body: &[u8]) -> Digest {
    Digest::of(&[target.as_bytes(), content_type.as_bytes(), body].join(&b'\n'))
}

#[cfg(test)]
mod tests;
