//! What an attempt asks of the world outside, and is answered, on the way to its host and back.

use bytes::Bytes;
use jobwright_core::outside::{Keep, Kept, Unkept, Unsent};
use serde::{Deserialize, Serialize};

/// What an attempt wants from outside.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) enum Ask {
    Send(Request),
    Keep(Keep),
}

/// What it is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) enum Answer {
    Sent(Result<Response, Unsent>),
    Kept(Result<Kept, Unkept>),
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

/// A response of HTTP.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Response {
    status: u16,
    headers: Headers,
    body: Bytes,
}

impl From<http::Response<Bytes>> for Response {
    fn from(response: http::Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status.as_u16(), headers: listed(&head.headers), body }
    }
}

impl TryFrom<Response> for http::Response<Bytes> {
    type Error = http::Error;

    fn try_from(response: Response) -> Result<Self, http::Error> {
        let Response { status, headers, body } = response;
        let mut builder = http::Response::builder().status(status);
        for (name, value) in headers {
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
