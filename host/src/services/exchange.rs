//! One exchange over a connection: sends a request, checks the head of the response, and passes on its body as it
//! arrives.

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{self, HeaderName};
use http::response::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jobwright_core::services::{
    HttpRequestError, MAX_HEAD_BYTES, MAX_HEADERS, Timeouts, header_bytes,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::response_body::BodyWriter;

/// The maximum size of the head of a response, in bytes: its headers, and more than any status line.
const HEAD_BYTES: usize = MAX_HEAD_BYTES + (8 << 10);

/// Headers of a response that belong to the connection. They are not passed on to the guest.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The receiver of a response.
pub(super) struct ResponseSink {
    /// `None` once the head was sent.
    pub(super) head: Option<oneshot::Sender<Result<Parts, HttpRequestError>>>,
    pub(super) body: BodyWriter,
}

impl ResponseSink {
    pub(super) fn end(self, result: Result<(), HttpRequestError>) {
        match (self.head, result) {
            (Some(head), Err(error)) => drop(head.send(Err(error))),
            (_, result) => self.body.end(result),
        }
    }
}

/// A stream that requests are sent over.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Connection for C {}

/// A request and its response over one connection.
pub(super) struct Exchange<'a> {
    /// Whether the response must be complete and unencoded.
    pub(super) must_be_searchable: bool,
    pub(super) timeouts: Timeouts,
    pub(super) sink: &'a mut ResponseSink,
}

impl Exchange<'_> {
    /// Sends the request, and passes on the response as it arrives. The future drives the connection too.
    pub(super) async fn over(
        self,
        connection: Box<dyn Connection>,
        request: Request<Bytes>,
    ) -> Result<(), HttpRequestError> {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(connection))
            .await
            .map_err(broken)?;
        let exchange = async move {
            let responding = sender.send_request(request.map(Full::new));
            let response = match self.timeouts.first_byte {
                Some(limit) => {
                    let late = |_| HttpRequestError::NoResponse(limit);
                    timeout(limit, responding).await.map_err(late)?
                }
                None => responding.await,
            };
            self.receive(response.map_err(broken)?).await
        };
        match select(pin!(exchange), pin!(connection)).await {
            Either::Left((result, _)) => result,
            // The connection has ended; bytes that arrived before are still to be passed on.
            Either::Right((_, exchange)) => exchange.await,
        }
    }

    async fn receive(self, response: Response<Incoming>) -> Result<(), HttpRequestError> {
        let ResponseSink { head: head_sender, body: writer } = self.sink;
        let (mut head, mut body) = response.into_parts();
        check_head(&mut head, self.must_be_searchable)?;
        writer.check_length(body.size_hint().lower())?;
        if let Some(sender) = head_sender.take() {
            // If the guest does not wait any more, it drops the body, which aborts this task.
            let _ = sender.send(Ok(head));
        }
        loop {
            let next = body.frame();
            let frame = match self.timeouts.between_bytes {
                Some(limit) => {
                    timeout(limit, next).await.map_err(|_| HttpRequestError::Stalled(limit))?
                }
                None => next.await,
            };
            let Some(frame) = frame else { return Ok(()) };
            // Frames without data are trailers.
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                writer.push(&data)?;
            }
        }
    }
}

/// Checks the head of a response, and removes the headers of the connection.
fn check_head(head: &mut Parts, must_be_searchable: bool) -> Result<(), HttpRequestError> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HttpRequestError::Broken("the server switches to another protocol".to_owned()));
    }
    if header_bytes(&head.headers) > MAX_HEAD_BYTES {
        return Err(HttpRequestError::ResponseHeadTooLong(MAX_HEAD_BYTES as u64));
    }
    if let Some(why) = unsearchable(head) {
        if must_be_searchable {
            return Err(why.into());
        }
        head.extensions.insert(why);
    }
    for name in HOP_BY_HOP {
        head.headers.remove(name);
    }
    Ok(())
}

/// Why secrets cannot be found in a response: a word that describes the response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsearchable(&'static str);

impl From<Unsearchable> for HttpRequestError {
    fn from(Unsearchable(fault): Unsearchable) -> Self {
        let why = format!("it is {fault}, so it cannot be searched for secrets");
        Self::Broken(why)
    }
}

fn unsearchable(head: &Parts) -> Option<Unsearchable> {
    let all_are = |name: HeaderName, allowed: &str| {
        let mut values = head.headers.get_all(name).iter();
        values.all(|value| value.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
    };
    let partial = [StatusCode::PARTIAL_CONTENT, StatusCode::IM_USED].contains(&head.status);
    let encoded = !all_are(header::CONTENT_ENCODING, "identity")
        || !all_are(header::TRANSFER_ENCODING, "chunked");
    partial.then_some("partial").or(encoded.then_some("encoded")).map(Unsearchable)
}

/// The error with its cause, which has the details.
fn broken(error: hyper::Error) -> HttpRequestError {
    if error.is_parse_too_large() {
        return HttpRequestError::ResponseHeadTooLong(MAX_HEAD_BYTES as u64);
    }
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    HttpRequestError::Broken(format!("{error}{}", cause.unwrap_or_default()))
}
