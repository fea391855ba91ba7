//! What becomes of a body that is refused before its end. A client that is still sending when the
//! connection is closed sees a broken connection and never the answer that says why. So the rest is
//! read for a moment, and thrown away.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;

/// How long: who sends 32 MiB too much over a fast network is done by then.
const LINGER: Duration = Duration::from_secs(2);

/// How much, in bytes: twice the longest plugin that hosts take unless told otherwise.
const LINGER_BYTES: usize = 64 << 20;

/// A body whose rest is read when it is dropped before its end.
struct Lingering {
    body: Body,
    ended: bool,
}

/// The request, with a body that is read to its end or for a moment longer than it was needed.
pub(in crate::api) fn lingering(request: Request) -> Request {
    // A client that expects `100 Continue` waits for the answer: its body need not be read.
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
        // Without a runtime the process is ending, and the connection with it.
        if let Ok(runtime) = Handle::try_current() {
            let reading = async move {
                let mut left = LINGER_BYTES;
                while left > 0
                    && let Some(Ok(frame)) = rest.frame().await
                {
                    left = left.saturating_sub(frame.data_ref().map_or(1, Bytes::len));
                }
            };
            runtime.spawn(async { drop(tokio::time::timeout(LINGER, reading).await) });
        }
    }
}
