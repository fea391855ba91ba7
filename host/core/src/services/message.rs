//! HTTP requests of guests: their timeouts, their bounds, and why one fails.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::text::shorten;

/// How long a guest wants to wait for each part of a response, as `wasi:http` has them. What is absent
/// may take as long as the attempt, but for the connection, of which the host has a limit of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the look-up of the name until the connection is there, and secure if it is to be.
    pub connect: Option<Duration>,
    /// From then until the head of the response.
    pub first_byte: Option<Duration>,
    /// Between the head and the first bytes of the body, and between any two pieces of it.
    pub between_bytes: Option<Duration>,
}

/// Why there is no response, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum HttpRequestError {
    /// Nothing allows it: not where it goes, not its method, not the use of a secret.
    #[error("denied: {0}")]
    Denied(String),
    /// It may go where it names, and not to an address that this name has.
    #[error("denied: {0}")]
    DeniedAddress(String),
    /// The attempt has made as many requests as it may.
    #[error("the attempt has sent {0} requests, all that `grants.http_limits.requests` allows")]
    TooMany(u32),
    /// The body of the request is longer than it may be.
    #[error(
        "the request is longer than the {0} bytes that `grants.http_limits.request_bytes` allows"
    )]
    RequestTooLong(u64),
    /// The address and headers of the request are longer than they may be.
    #[error("its address and headers are longer than the {0} bytes that they may have")]
    HeadTooLong(u64),
    /// The body of the response is longer than it may be.
    #[error(
        "the response is longer than the {0} bytes that `grants.http_limits.response_bytes` allows"
    )]
    ResponseTooLong(u64),
    /// The name means no address.
    #[error("the name cannot be resolved: {0}")]
    Unresolved(String),
    /// Nobody answers there.
    #[error("cannot connect: {0}")]
    Unconnected(String),
    /// Who answers there is not who it should be.
    #[error("no secure connection: {0}")]
    Insecure(String),
    /// There was no connection in time.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// No response began in time.
    #[error("no response within {0:?}")]
    NoResponse(Duration),
    /// The response did not go on in time.
    #[error("the response did not go on for {0:?}")]
    Stalled(Duration),
    /// The headers of the response are longer, or more, than they may be.
    #[error("the headers of the response are longer than {0} bytes, or more than {MAX_HEADERS}")]
    ResponseHeadTooLong(u64),
    /// The host, or the attempt, holds as many bytes of bodies as it may.
    #[error("there is no room for its body: {0}")]
    NoRoom(String),
    /// What came back is no HTTP, or broke off.
    #[error("the response is broken: {0}")]
    Broken(String),
}

impl HttpRequestError {
    /// The line about it in the log of the attempt whose request it is, as [`shown`].
    #[must_use]
    pub fn line(&self, shown: &str) -> String {
        format!("WARN: jobwright: {shown}: {self}\n")
    }
}

/// A request in a line of a log: without its query, in which there may be what is nobody's business.
#[must_use]
pub fn shown(method: &http::Method, to: &http::Uri) -> String {
    let text = to.to_string();
    let end = text.find('?').unwrap_or(text.len());
    format!("{} {}", shorten(method.as_str()), shorten(&text[..end]))
}

/// What the headers of a message may take, in bytes, with the address of a request: eight times what most
/// servers take.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// The most headers of a response: what takes [`MAX_HEAD_BYTES`] at 32 bytes each.
pub const MAX_HEADERS: usize = 2048;

/// What headers take, in bytes, with the colon, the space and the end of the line of each.
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
