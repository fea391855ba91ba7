//! The calls of one attempt to what it was granted outside, which its host makes for it.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use jobwright_core::attempt::Attempt;
use jobwright_core::outside::{Outside, Unsent};

use super::message::{Answer, Ask};
use super::outside::CALLS;

/// Those that have no answer yet. Dropping it drops them.
pub(super) struct Calls {
    outside: Arc<dyn Outside>,
    running: FuturesUnordered<BoxFuture<'static, (u64, Result<Answer, Aborted>)>>,
    handles: HashMap<u64, AbortHandle>,
}

impl Calls {
    pub(super) fn new(attempt: &Attempt) -> Self {
        let (running, handles) = (FuturesUnordered::new(), HashMap::new());
        Self { outside: attempt.granted.outside.clone(), running, handles }
    }

    /// Begins a call.
    ///
    /// # Errors
    /// With what an honest runner never does.
    pub(super) fn start(&mut self, call: u64, ask: Ask) -> Result<(), String> {
        if self.handles.len() >= CALLS {
            return Err(format!("more than {CALLS} calls at one time"));
        }
        let (making, handle) = abortable(make(self.outside.clone(), ask));
        if self.handles.insert(call, handle).is_some() {
            return Err(format!("two calls with the number {call}"));
        }
        self.running.push(Box::pin(async move { (call, making.await) }));
        Ok(())
    }

    /// Gives a call up.
    pub(super) fn drop(&mut self, call: u64) {
        if let Some(handle) = self.handles.remove(&call) {
            handle.abort();
        }
    }

    /// The next answer; waits for ever if nothing was asked. Whoever drops this has missed nothing.
    pub(super) async fn next(&mut self) -> (u64, Answer) {
        loop {
            match self.running.next().await {
                Some((call, Ok(answer))) => {
                    self.handles.remove(&call);
                    return (call, answer);
                }
                Some((_, Err(Aborted))) => {}
                None => pending().await,
            }
        }
    }
}

async fn make(outside: Arc<dyn Outside>, ask: Ask) -> Answer {
    match ask {
        Ask::Keep(call) => Answer::Kept(outside.keep(call).await),
        Ask::Send(request) => Answer::Sent(match request.try_into() {
            Ok(request) => outside.send(request).await.map(Into::into),
            Err(error) => Err(Unsent::Denied(format!("it is no request: {error}"))),
        }),
    }
}
