//! The calls of one attempt to host services, which the host makes for it.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use jobwright_core::attempt::Attempt;
use jobwright_core::services::{Body, HostServices, HttpRequestError, Timeouts};

use super::bounds::{CALLS, RESPONSES, carried_bytes};
use super::message::{Answer, HostCall, Request, value_bytes};

/// The calls that have no answer yet, and the responses that were not read to their ends. Dropping it drops
/// both.
pub(super) struct Calls {
    services: Arc<dyn HostServices>,
    running: FuturesUnordered<BoxFuture<'static, (u64, Result<Made, Aborted>)>>,
    under_way: HashMap<u64, UnderWay>,
    /// The maximum size of all concurrent calls, in bytes.
    most_bytes: u64,
    /// By the number of the call that returned the head.
    bodies: HashMap<u64, Body>,
}

/// A call without a reply.
struct UnderWay {
    handle: AbortHandle,
    /// Its size, in bytes.
    bytes: u64,
}

/// The result of a call.
struct Made {
    answer: Answer,
    /// A response whose body is not complete, by the number of the call that returned the head.
    body: Option<(u64, Body)>,
}

impl Calls {
    pub(super) fn new(attempt: &Attempt) -> Self {
        Self::to(attempt.granted.services.clone(), value_bytes(&attempt.granted.grants))
    }

    fn to(services: Arc<dyn HostServices>, value_bytes: u64) -> Self {
        let most_bytes = carried_bytes(services.request_bytes(), value_bytes);
        let (running, under_way) = (FuturesUnordered::new(), HashMap::new());
        Self { services, running, under_way, most_bytes, bodies: HashMap::new() }
    }

    /// Begins a call.
    ///
    /// # Errors
    /// With the bound that the call exceeds, which a runner that follows the protocol obeys.
    pub(super) fn start(&mut self, call: u64, host_call: HostCall) -> Result<(), String> {
        if self.under_way.len() >= CALLS {
            return Err(format!("more than {CALLS} calls at one time"));
        }
        if self.bodies.len() >= RESPONSES && matches!(host_call, HostCall::Send(..)) {
            return Err(format!("more than {RESPONSES} responses at one time"));
        }
        let bytes = host_call.body_bytes();
        let carried = self.under_way.values().map(|call| call.bytes).sum::<u64>() + bytes;
        if carried > self.most_bytes {
            return Err(format!(
                "calls with {carried} bytes, more than the maximum of {} bytes",
                self.most_bytes
            ));
        }
        if self.under_way.contains_key(&call) || self.bodies.contains_key(&call) {
            return Err(format!("two calls with the number {call}"));
        }
        let (making, handle) = abortable(self.make(call, host_call));
        self.under_way.insert(call, UnderWay { handle, bytes });
        self.running.push(Box::pin(async move { (call, making.await) }));
        Ok(())
    }

    /// Aborts a call, or drops its response.
    pub(super) fn drop(&mut self, call: u64) {
        self.bodies.remove(&call);
        if let Some(call) = self.under_way.remove(&call) {
            call.handle.abort();
        }
    }

    /// The next answer; waits for ever if there are no calls. Cancel safe.
    pub(super) async fn next(&mut self) -> (u64, Answer) {
        loop {
            match self.running.next().await {
                Some((call, Ok(made))) => {
                    self.under_way.remove(&call);
                    self.bodies.extend(made.body);
                    return (call, made.answer);
                }
                Some((_, Err(Aborted))) => {}
                None => pending().await,
            }
        }
    }

    fn make(&mut self, call: u64, host_call: HostCall) -> BoxFuture<'static, Made> {
        let services = self.services.clone();
        match host_call {
            HostCall::KeyValue(keep) => Box::pin(async move {
                Made { answer: Answer::KeyValue(services.key_value(keep).await), body: None }
            }),
            HostCall::Send(request, timeouts) => Box::pin(sent(services, call, request, timeouts)),
            HostCall::More(of) => Box::pin(more(of, self.bodies.remove(&of))),
        }
    }
}

async fn sent(
    services: Arc<dyn HostServices>,
    call: u64,
    request: Request,
    timeouts: Timeouts,
) -> Made {
    let answer = match request.try_into() {
        Ok(request) => services.send(request, timeouts).await,
        Err(error) => {
            let error: http::Error = error;
            Err(HttpRequestError::Denied(format!("not a valid request: {error}")))
        }
    };
    match answer {
        Ok(response) => {
            let (head, body) = response.into_parts();
            Made { answer: Answer::Sent(Ok(head.into())), body: Some((call, body)) }
        }
        Err(unsent) => Made { answer: Answer::Sent(Err(unsent)), body: None },
    }
}

/// The next piece of a body; none of one that has ended.
async fn more(of: u64, body: Option<Body>) -> Made {
    let Some(mut body) = body else {
        return Made { answer: Answer::Piece(Ok(None)), body: None };
    };
    let piece = body.next().await.transpose();
    let body = matches!(piece, Ok(Some(_))).then_some((of, body));
    Made { answer: Answer::Piece(piece), body }
}

#[cfg(test)]
mod tests;
