//! Reads and discards the rest of a body that was refused before its end. A client that is still sending when
//! the connection is closed gets a connection error instead of the response.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;

/// How long the rest is read: enough for 32 MiB over a fast network.
const LINGER: Duration = Duration::from_secs(2);

/// How much of the rest is read, in bytes: twice the default limit of plugins.
const LINGER_BYTES: usize = 64 << 20;

/// A body whose rest is read in the background if it is dropped before its end.
struct Lingering {
    body: Body,
    ended: bool,
}

/// The request, with a body whose rest is read in the background if it is dropped before its end.
pub(in crate::api) fn lingering(request: Request) -> Request {
    // A client that expects `100 Continue` has not begun to send its body.
    if request.headers().contains_key(header::EXPECT) {
        return request;
    }
    request.map(|body| {
        let ended = body.is_end_stream();
        if ended { body } else { Body::new(Lingering { body, ended }) }
    })
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.ended |= matches!(frame, Poll::Ready(None | Some(Err(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let mut rest = std::mem::take(&mut self.body);
        if self.ended || rest.is_end_stream() {
            return;
        }
        // Without a runtime, the process is ending and closes the connection.
        if let Ok(runtime) = Handle::try_current() {
            let draining = async move {
                let mut left = LINGER_BYTES;
                while left > 0
                    && let Some(Ok(frame)) = rest.frame().await
                {
                    left = left.saturating_sub(frame.data_ref().map_or(1, Bytes::len));
                }
            };
            runtime.spawn(async { drop(tokio::time::timeout(LINGER, draining).await) });
        }
    }
}
