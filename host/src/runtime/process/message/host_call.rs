//! The calls that an attempt makes through its host, and the replies.

use bytes::Bytes;
use jobwright_core::services::{
    HttpRequestError, KeyValueCall, KeyValueError, KeyValueReply, Timeouts,
};
use serde::{Deserialize, Serialize};

/// A call.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) enum HostCall {
    /// The head of a response.
    Send(Request, Timeouts),
    /// The next piece of its body, by the number of the call that had the head.
    More(u64),
    KeyValue(KeyValueCall),
}

impl HostCall {
    /// The size of its body or value, in bytes.
    pub(in super::super) fn body_bytes(&self) -> u64 {
        let bytes = match self {
            Self::Send(request, _) => request.body.len(),
            Self::KeyValue(
                KeyValueCall::Set { value, .. } | KeyValueCall::Swap { to: value, .. },
            ) => value.len(),
            Self::KeyValue(_) | Self::More(_) => 0,
        };
        bytes as u64
    }
}

/// The answer to a [`HostCall`].
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) enum Answer {
    Sent(Result<Head, HttpRequestError>),
    /// `None` after the last piece.
    Piece(Result<Option<Bytes>, HttpRequestError>),
    KeyValue(Result<KeyValueReply, KeyValueError>),
}

type Headers = Vec<(String, Bytes)>;

/// A request of HTTP.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Request {
    method: String,
    uri: String,
    headers: Headers,
    body: Bytes,
}

impl From<http::Request<Bytes>> for Request {
    fn from(request: http::Request<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        let (method, uri) = (head.method.to_string(), head.uri.to_string());
        Self { method, uri, headers: listed(&head.headers), body }
    }
}

impl TryFrom<Request> for http::Request<Bytes> {
    type Error = http::Error;

    fn try_from(request: Request) -> Result<Self, http::Error> {
        let Request { method, uri, headers, body } = request;
        let mut builder = http::Request::builder().method(method.as_str()).uri(uri);
        for (name, value) in headers {
            builder = builder.header(name, value.as_ref());
        }
        builder.body(body)
    }
}

/// The head of a response of HTTP.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Head {
    status: u16,
    headers: Headers,
}

impl From<http::response::Parts> for Head {
    fn from(head: http::response::Parts) -> Self {
        Self { status: head.status.as_u16(), headers: listed(&head.headers) }
    }
}

impl Head {
    /// The response with this head and `body`.
    pub(in super::super) fn with<B>(self, body: B) -> Result<http::Response<B>, http::Error> {
        let mut builder = http::Response::builder().status(self.status);
        for (name, value) in self.headers {
            builder = builder.header(name, value.as_ref());
        }
        builder.body(body)
    }
}

fn listed(headers: &http::HeaderMap) -> Headers {
    let listed = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), Bytes::copy_from_slice(value.as_bytes()))
    };
    headers.iter().map(listed).collect()
}
