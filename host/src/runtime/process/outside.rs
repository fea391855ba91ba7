//! What an attempt reaches outside, from within a runner: nothing but its host, which reaches for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::log::LogBuffer;
use jobwright_core::outside::{Keep, Kept, Outside, Unkept, Unsent, shown};
use jobwright_core::report::Report;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::message::{Answer, Ask, Telling, Traces};

/// Calls of one attempt at one time; more wait. Many more than any grant lets through.
pub(super) const CALLS: usize = 64;

/// What an attempt has left, and how much of it the host was told.
#[derive(Debug)]
pub(super) struct Teller {
    log: Arc<LogBuffer>,
    report: Arc<Report>,
    position: Mutex<u64>,
}

impl Teller {
    pub(super) fn new(log: Arc<LogBuffer>, report: Arc<Report>) -> Self {
        Self { log, report, position: Mutex::default() }
    }

    /// What the host was not told yet.
    pub(super) fn news(&self) -> Traces {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        Traces::since(&mut position, &self.log, &self.report)
    }
}

/// Hands every call to the host, with what the attempt left before it.
#[derive(Debug)]
pub(super) struct ThroughHost {
    host: mpsc::Sender<Telling>,
    teller: Mutex<Option<Arc<Teller>>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
    places: Arc<Semaphore>,
    request_bytes: u64,
    value_bytes: u64,
}

impl ThroughHost {
    /// Calls are numbered from `first`, and are as long as the host lets them be.
    pub(super) fn new(
        host: mpsc::Sender<Telling>,
        first: u64,
        (request_bytes, value_bytes): (u64, u64),
    ) -> Self {
        let (teller, waiting) = (<_>::default(), <_>::default());
        let places = Arc::new(Semaphore::new(CALLS));
        let next = AtomicU64::new(first);
        Self { host, teller, waiting, next, places, request_bytes, value_bytes }
    }

    /// Has `teller` tell the host what the attempt left before each call.
    pub(super) fn tell_by(&self, teller: Arc<Teller>) {
        *self.teller.lock().unwrap_or_else(PoisonError::into_inner) = Some(teller);
    }

    /// The number that the next call would have.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Takes an answer; one that nobody waits for is dropped.
    pub(super) fn answered(&self, call: u64, answer: Answer) {
        if let Some(waiting) = self.waiting().remove(&call) {
            let _ = waiting.send(answer);
        }
    }

    /// The answer; none if the host is gone, and this process about to go too.
    async fn ask(&self, ask: Ask) -> Option<Answer> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        let way = self.host.reserve().await.ok()?;
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(call, sender);
        let _given_up = GivenUp { of: self, call, place: Some(place) };
        let teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = Box::new(teller.map(|teller| teller.news()).unwrap_or_default());
        way.send(Telling::Call { call, ask: Box::new(ask), before });
        answer.await.ok()
    }

    /// Writes about what the host is not asked to the log of the attempt.
    fn log(&self, line: &str) {
        if let Some(teller) = &*self.teller.lock().unwrap_or_else(PoisonError::into_inner) {
            teller.log.write(line.as_bytes());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the host that nobody waits for the answer to a call, if that is so when this is dropped.
struct GivenUp<'a> {
    of: &'a ThroughHost,
    call: u64,
    place: Option<OwnedSemaphorePermit>,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.of.waiting().remove(&self.call).is_none() {
            return;
        }
        let (host, dropped) = (&self.of.host, Telling::Dropped { call: self.call });
        if let Err(TrySendError::Full(dropped)) = host.try_send(dropped)
            && let Ok(runtime) = Handle::try_current()
        {
            // Until the host is told, it counts the call: another in its place would be one too many.
            let (host, place) = (host.clone(), self.place.take());
            runtime.spawn(async move {
                let _ = host.send(dropped).await;
                drop(place);
            });
        }
    }
}

const GONE: &str = "the host is gone";

#[async_trait]
impl Outside for ThroughHost {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, Unsent> {
        if request.body().len() as u64 > self.request_bytes {
            let unsent = Unsent::RequestTooLong(self.request_bytes);
            self.log(&unsent.line(&shown(request.method(), request.uri())));
            return Err(unsent);
        }
        match self.ask(Ask::Send(request.into())).await {
            Some(Answer::Sent(Ok(response))) => {
                response.try_into().map_err(|error: http::Error| Unsent::Broken(error.to_string()))
            }
            Some(Answer::Sent(Err(unsent))) => Err(unsent),
            Some(Answer::Kept(_)) | None => Err(Unsent::Broken(GONE.to_owned())),
        }
    }

    async fn keep(&self, call: Keep) -> Result<Kept, Unkept> {
        let length = length(&call);
        if length > self.value_bytes.saturating_add(SHORT_BYTES) {
            let most = self.value_bytes;
            let message = format!("{length} bytes exceed the {most} bytes that are granted");
            let unkept = Unkept::Refused(message);
            self.log(&unkept.line());
            return Err(unkept);
        }
        match self.ask(Ask::Keep(call)).await {
            Some(Answer::Kept(kept)) => kept,
            Some(Answer::Sent(_)) | None => Err(Unkept::Failed(GONE.to_owned())),
        }
    }

    fn request_bytes(&self) -> u64 {
        self.request_bytes
    }
}

/// A call this short fits in any message: the host says what is wrong with it.
const SHORT_BYTES: u64 = 64 << 10;

/// What a call takes, in bytes.
fn length(call: &Keep) -> u64 {
    let parts = match call {
        Keep::Get { bucket, key } | Keep::Delete { bucket, key } => [bucket.len(), key.len(), 0, 0],
        Keep::Increment { bucket, key, .. } => [bucket.len(), key.len(), 0, 0],
        Keep::Set { bucket, key, value } => [bucket.len(), key.len(), value.len(), 0],
        // What it is compared with is a digest.
        Keep::Swap { bucket, key, to, .. } => [bucket.len(), key.len(), to.len(), 0],
        Keep::Open { bucket } => [bucket.len(), 0, 0, 0],
        Keep::Keys { bucket, after } => [bucket.len(), after.as_ref().map_or(0, String::len), 0, 0],
    };
    parts.into_iter().sum::<usize>() as u64
}
