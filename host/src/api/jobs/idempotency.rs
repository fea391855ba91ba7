//! `Idempotency-Key`, and the fingerprint of a request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::{HeaderMap, Uri};
use jobwright_core::plugin::Digest;
use serde_json::value::RawValue;

use crate::api::http::error::ApiError;
use crate::api::http::fields::Fields;
use crate::api::http::problem_code::ProblemCode;

/// The maximum length of a key, in bytes, as in comparable interfaces.
const MAX_KEY_BYTES: usize = 255;

/// The field of a job with its key.
const FIELD: &str = "idempotency_key";

/// The key in the header of a request, if it has one: a string (RFC 8941, section 3.3.3), as the draft of
/// the standard demands, or the same without quotes, as most clients send it.
///
/// # Errors
/// If there are several keys, or the key is invalid.
pub(super) fn of_headers(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let invalid = |detail: String| ApiError::new(ProblemCode::InvalidIdempotencyKey, detail);
    let mut values = headers.get_all("idempotency-key").into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("the request has more than one Idempotency-Key: send one".to_owned()));
    }
    let key = key(value.to_str().unwrap_or_default());
    key.map(Some).ok_or_else(|| invalid(format!("an Idempotency-Key is {}", shape())))
}

/// The key in the fields of a job. It must not differ from that in the header of the request.
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

/// The contents of a string in a structured field, after its first quote. Parameters after it are ignored.
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

/// The fingerprint of a request: its target, its content type and its body.
pub(super) fn of_request(uri: &Uri, content_type: &str, body: &[u8]) -> Digest {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    fingerprint(target, content_type, body)
}

/// The fingerprint of a job of a batch: that of a request with this job alone.
pub(super) fn of_job(text: &str) -> Digest {
    // The path as the router under `/v1` sees it.
    fingerprint("/jobs", "application/json", &without_key(text.as_bytes()))
}

/// A job in JSON without its key, so that it equals a job whose key is in the header.
pub(super) fn without_key(body: &[u8]) -> Cow<'_, [u8]> {
    let parts = std::str::from_utf8(body).ok().and_then(around_key);
    parts.map_or(Cow::Borrowed(body), |(before, after)| {
        Cow::Owned([before.as_bytes(), after.as_bytes()].concat())
    })
}

/// The parts of a JSON object before and after the member of the key, without the comma of that member.
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
