//! Receives the response while the guest writes it.
//!
//! Invariant: the moments at which parts of the body are received depend on the guest's calls only,
//! not on timing.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use ::http::header::CONTENT_LENGTH;
use futures_util::future::{Either, select};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot::Receiver;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::super::super::stdio::{OutputBuffer, Sink as _};
use super::super::super::yield_state::YieldState;
use super::response::Answer;

/// The receiver of the response's head.
type Answered = Receiver<Result<::http::Response<HyperOutgoingBody>, ErrorCode>>;

/// Receives the response whenever the guest waits. An error of either future ends both.
///
/// A guest sees how much room is left in its body, and uses fuel to wait for more. So nothing is
/// received when it only yields.
pub(super) async fn exchange(
    handling: impl Future<Output = wasmtime::Result<()>>,
    receiving: impl Future<Output = wasmtime::Result<Answer>>,
    state: YieldState,
) -> wasmtime::Result<Answer> {
    let mut receiving = pin!(receiving);
    let receiving = poll_fn(move |wake| match state.is_yielding() {
        true => Poll::Pending,
        false => receiving.as_mut().poll(wake),
    });
    match select(pin!(handling), receiving).await {
        Either::Left((handled, receiving)) => {
            handled?;
            receiving.await
        }
        Either::Right((received, handling)) => {
            let answer = received?;
            // A guest whose response exceeds the limit is not run to its end.
            if !matches!(answer, Answer::Cut(_)) {
                handling.await?;
            }
            Ok(answer)
        }
    }
}

/// The answer, once its body has ended; the body is written to `output` as it arrives. The body of
/// an error status is no output: the status alone decides the outcome, and the body is kept as far
/// as it fits.
pub(super) async fn receive(
    answered: Answered,
    output: &Arc<OutputBuffer>,
) -> wasmtime::Result<Answer> {
    let response = match answered.await {
        Ok(Ok(response)) => response,
        Ok(Err(code)) => return Ok(Answer::Error(code)),
        Err(_) => return Ok(Answer::Missing),
    };
    let (head, mut body) = response.into_parts();
    while let Some(frame) = body.frame().await {
        match frame {
            // Other frames are trailers.
            Ok(frame) => match frame.into_data() {
                Ok(bytes) if head.status.is_success() => output.take(&bytes)?,
                Ok(bytes) if output.take(&bytes).is_ok() => {}
                Ok(_) => return Ok(Answer::Cut(head)),
                Err(_) => {}
            },
            Err(_) if head.status.is_success() => return Ok(Answer::Broken),
            Err(_) => break,
        }
    }
    if !head.status.is_success() {
        return Ok(Answer::Whole(head));
    }
    // A guest that returns without finishing its body has ended it, unless its `content-length`
    // promised more.
    let promised = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    match promised.map(str::parse::<u64>) {
        Some(Ok(promised)) if output.tried() != promised => Ok(Answer::Broken),
        _ => Ok(Answer::Whole(head)),
    }
}
