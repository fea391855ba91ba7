//! Serves bytes that guests and uploaders chose, so that no browser renders them as a page.

use std::io::{self, Read};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, stream};
use jobwright_core::outcome::is_json;
use jobwright_core::plugin::Digest;

/// Media types, in addition to those of JSON, that browsers show without running code.
const INERT: [&str; 6] =
    ["text/plain", "text/csv", "image/png", "image/jpeg", "image/gif", "image/webp"];

/// The size of a piece of a streamed body, which is in memory for each client.
const PIECE_BYTES: usize = 64 << 10;

/// The length and the digest of a streamed body.
#[derive(Debug)]
pub(in crate::api) struct Described {
    pub(in crate::api) length: u64,
    pub(in crate::api) digest: Digest,
}

/// A response with `bytes`, their media type, if they have one, and their digest (RFC 9530). It is a download
/// named `name`, unless the type is inert. Headers against sniffing and scripts are added to every response.
pub(in crate::api) fn serve(bytes: Bytes, content_type: Option<&str>, name: &str) -> Response {
    let digest = Digest::of(&bytes);
    described(Body::from(bytes), &digest, content_type, name)
}

/// Like [`serve`], streamed: bytes are read as the client receives them.
pub(in crate::api) fn serve_in_pieces(
    from: Box<dyn Read + Send>,
    body: &Described,
    content_type: &str,
    name: &str,
) -> Response {
    let stream = Body::from_stream(pieces(from));
    let mut response = described(stream, &body.digest, Some(content_type), name);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.length));
    response
}

/// The pieces of a reader, each read by `spawn_blocking`.
fn pieces(from: Box<dyn Read + Send>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(from, |mut from| async {
        let read = move || {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            from.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
            Ok::<_, io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), from)))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    })
}

fn described(body: Body, digest: &Digest, content_type: Option<&str>, name: &str) -> Response {
    let essence = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let inert = INERT.iter().any(|inert| essence.eq_ignore_ascii_case(inert)) || is_json(essence);
    let digest = format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes()));
    let placed = if inert { "inline" } else { "attachment" };
    let mut response = Response::new(body);
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
