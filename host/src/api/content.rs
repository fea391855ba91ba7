//! Bytes that guests and uploaders chose, served so that no browser takes them for a page.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jobwright_core::plugin::Digest;

/// Media types that a browser shows without running anything.
const INERT: [&str; 7] = [
    "application/json",
    "text/plain",
    "text/csv",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
];

/// `bytes` under their media type, if they have one, with their digest (RFC 9530), as a download named
/// `name` unless the type is inert. The headers against sniffing and scripts are every answer's.
pub(super) fn serve(bytes: Bytes, content_type: Option<&str>, name: &str) -> Response {
    let essence = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let inert = INERT.iter().any(|inert| essence.eq_ignore_ascii_case(inert));
    let digest = format!("sha-256=:{}:", STANDARD.encode(Digest::of(&bytes).as_bytes()));
    let placed = if inert { "inline" } else { "attachment" };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    if let Some(kind) = content_type {
        let kind = HeaderValue::from_str(kind)
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_TYPE, kind);
    }
    for (name, value) in [
        (HeaderName::from_static("content-digest"), digest),
        (header::CONTENT_DISPOSITION, format!("{placed}; filename=\"{name}\"")),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}
