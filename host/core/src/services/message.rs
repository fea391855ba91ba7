//! HTTP requests of guests: their timeouts, their bounds, and why one fails.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::text::shorten;

/// The timeouts of a guest for each part of a response, as in `wasi:http`. A part without a timeout may take as
/// long as the attempt; the host has its own timeout for connecting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the look-up of the name until the connection is there, and secure if it is to be.
    pub connect: Option<Duration>,
    /// From then until the head of the response.
    pub first_byte: Option<Duration>,
    /// Between the head and the first bytes of the body, and between any two pieces of it.
    pub between_bytes: Option<Duration>,
}

/// Why a request failed, or its response ended early.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum HttpRequestError {
    /// No grant allows its origin, its method, or the use of a secret.
    #[error("denied: {0}")]
    Denied(String),
    /// The origin is granted, but not an address to which the name resolves.
    #[error("denied: {0}")]
    DeniedAddress(String),
    /// The attempt has made as many requests as it may.
    #[error("the attempt has sent {0} requests, the maximum of `grants.http_limits.requests`")]
    TooMany(u32),
    /// The body of the request is longer than it may be.
    #[error(
        "the body of the request is longer than the limit of {0} bytes \
         (`grants.http_limits.request_bytes`)"
    )]
    RequestTooLong(u64),
    /// The address and headers of the request are longer than they may be.
    #[error("the address and headers of the request are longer than the limit of {0} bytes")]
    HeadTooLong(u64),
    /// The body of the response is longer than it may be.
    #[error(
        "the body of the response is longer than the limit of {0} bytes \
         (`grants.http_limits.response_bytes`)"
    )]
    ResponseTooLong(u64),
    /// The name does not resolve.
    #[error("the name cannot be resolved: {0}")]
    Unresolved(String),
    /// The connection was refused, or failed.
    #[error("cannot connect: {0}")]
    Unconnected(String),
    /// The TLS handshake failed: for example, the certificate is not valid for the name.
    #[error("no secure connection: {0}")]
    Insecure(String),
    /// There was no connection in time.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// No response began in time.
    #[error("no response within {0:?}")]
    NoResponse(Duration),
    /// The response stalled for longer than the timeout between bytes.
    #[error("the response stalled: no bytes arrived for {0:?}")]
    Stalled(Duration),
    /// The headers of the response are longer, or more, than they may be.
    #[error("the response has headers of more than {0} bytes, or more than {MAX_HEADERS} headers")]
    ResponseHeadTooLong(u64),
    /// The host, or the attempt, holds as many bytes of bodies as it may.
    #[error("no memory is available for its body: {0}")]
    NoRoom(String),
    /// The response is not valid HTTP, or is truncated.
    #[error("the response is broken: {0}")]
    Broken(String),
}

impl HttpRequestError {
    /// The line of the attempt's log that reports it, with the request as [`shown`].
    #[must_use]
    pub fn line(&self, shown: &str) -> String {
        format!("WARN: jobwright: {shown}: {self}\n")
    }
}

/// A request for a line of a log, without its query, which may be confidential.
#[must_use]
pub fn shown(method: &http::Method, to: &http::Uri) -> String {
    let text = to.to_string();
    let end = text.find('?').unwrap_or(text.len());
    format!("{} {}", shorten(method.as_str()), shorten(&text[..end]))
}

/// The maximum size of the headers of a message and the address of a request, in bytes: eight times the limit
/// of most servers.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// The maximum number of headers of a response: [`MAX_HEAD_BYTES`] at 32 bytes each.
pub const MAX_HEADERS: usize = 2048;

/// The size of headers, in bytes, with the colon, the space and the line end of each.
#[must_use]
pub fn header_bytes(headers: &http::HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_without_its_query() {
        let to = "http://a.example.com/p?secret=1".parse().expect("a URI");
        assert_eq!(shown(&http::Method::POST, &to), "POST http://a.example.com/p");
    }
}
