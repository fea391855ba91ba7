//! The services that an attempt in a runner may call: each call goes through the host, which makes it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::log::LogBuffer;
use jobwright_core::report::ProgressReporter;
use jobwright_core::services::{
    Body, HostServices, HttpRequestError, KeyValueCall, KeyValueError, KeyValueReply, Pieces,
    Timeouts, shown,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::bounds::{CALLS, RESPONSES, SHORT_BYTES, carried_bytes};
use super::message::{Answer, FromRunner, HostCall, Traces};

/// The unit in which the bytes that calls carry are counted.
const UNIT_BYTES: u64 = 1 << 10;

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// The traces of an attempt, and how much of them was sent to the host.
#[derive(Debug)]
pub(super) struct Teller {
    log: Arc<LogBuffer>,
    report: Arc<ProgressReporter>,
    position: Mutex<u64>,
}

impl Teller {
    pub(super) fn new(log: Arc<LogBuffer>, report: Arc<ProgressReporter>) -> Self {
        Self { log, report, position: Mutex::default() }
    }

    /// The traces that were not sent to the host yet.
    pub(super) fn news(&self) -> Traces {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        Traces::since(&mut position, &self.log, &self.report)
    }
}

/// Sends every call to the host, with the traces that the attempt left before it.
#[derive(Debug)]
pub(super) struct ThroughHost {
    link: Arc<Link>,
    responses: Arc<Semaphore>,
    request_bytes: u64,
    value_bytes: u64,
}

/// The connection to the host, shared by calls and responses.
#[derive(Debug)]
struct Link {
    host: mpsc::Sender<FromRunner>,
    teller: Mutex<Option<Arc<Teller>>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
    places: Arc<Semaphore>,
    /// Permits for the bytes that calls carry.
    room: Arc<Semaphore>,
}

impl ThroughHost {
    /// Calls are numbered from `first`; one request and one value have at most so many bytes.
    pub(super) fn new(
        host: mpsc::Sender<FromRunner>,
        first: u64,
        request_bytes: u64,
        value_bytes: u64,
    ) -> Self {
        let (teller, waiting) = (<_>::default(), <_>::default());
        let places = Arc::new(Semaphore::new(CALLS));
        let next = AtomicU64::new(first);
        // Rounded down, and each call is rounded up: never more than the host accepts.
        let room = usize::try_from(carried_bytes(request_bytes, value_bytes) / UNIT_BYTES);
        let room = room.unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(room));
        let link = Arc::new(Link { host, teller, waiting, next, places, room });
        let responses = Arc::new(Semaphore::new(RESPONSES));
        Self { link, responses, request_bytes, value_bytes }
    }

    /// Sends the traces of `teller` with each call.
    pub(super) fn tell_by(&self, teller: Arc<Teller>) {
        *self.link.teller.lock().unwrap_or_else(PoisonError::into_inner) = Some(teller);
    }

    /// The number that the next call would have.
    pub(super) fn next(&self) -> u64 {
        self.link.next.load(Ordering::Relaxed)
    }

    /// Delivers an answer. An answer that no call waits for is dropped.
    pub(super) fn answered(&self, call: u64, answer: Answer) {
        if let Some(waiting) = self.link.waiting().remove(&call) {
            let _ = waiting.send(answer);
        }
    }

    /// Writes to the log of the attempt, about a call that is not sent to the host.
    fn log(&self, line: &str) {
        if let Some(teller) = &*self.link.teller.lock().unwrap_or_else(PoisonError::into_inner) {
            teller.log.write(line.as_bytes());
        }
    }

    /// Refuses a request before it is sent to the host.
    fn refused(
        &self,
        request: &http::Request<Bytes>,
        unsent: HttpRequestError,
    ) -> HttpRequestError {
        self.log(&unsent.line(&shown(request.method(), request.uri())));
        unsent
    }
}

impl Link {
    /// The answer, and the call, which is aborted when it is dropped. `None` if the host process
    /// has ended: then this process is about to end too.
    async fn call(self: &Arc<Self>, host_call: HostCall) -> Option<(Answer, Begun)> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        let room =
            self.room.clone().acquire_many_owned(units(host_call.body_bytes())).await.ok()?;
        let way = self.host.reserve().await.ok()?;
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(call, sender);
        let begun = Begun { link: self.clone(), call, places: vec![place, room], is_over: false };
        let teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = Box::new(teller.map(|teller| teller.news()).unwrap_or_default());
        way.send(FromRunner::Call { call, host_call: Box::new(host_call), before });
        Some((answer.await.ok()?, begun))
    }

    /// The answer to a call that ends with it.
    async fn answer(self: &Arc<Self>, host_call: HostCall) -> Option<Answer> {
        let (answer, mut begun) = self.call(host_call).await?;
        begun.is_over = true;
        Some(answer)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that the host makes. If it is not over when this is dropped, the host is told to abort it.
#[derive(Debug)]
struct Begun {
    link: Arc<Link>,
    call: u64,
    /// The permits that it holds.
    places: Vec<OwnedSemaphorePermit>,
    is_over: bool,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.link.waiting().remove(&self.call);
        if self.is_over {
            return;
        }
        let (host, dropped) = (&self.link.host, FromRunner::Dropped { call: self.call });
        if let Err(TrySendError::Full(dropped)) = host.try_send(dropped)
            && let Ok(runtime) = Handle::try_current()
        {
            // The host counts the call until it reads this message, so its permits are held until
            // then.
            let (host, places) = (host.clone(), std::mem::take(&mut self.places));
            runtime.spawn(async move {
                let _ = host.send(dropped).await;
                drop(places);
            });
        }
    }
}

/// The body of a response that the host receives.
#[derive(Debug)]
struct Remote(Begun);

#[async_trait]
impl Pieces for Remote {
    async fn next(&mut self) -> Option<Result<Bytes, HttpRequestError>> {
        if self.0.is_over {
            return None;
        }
        let piece = match self.0.link.answer(HostCall::More(self.0.call)).await {
            Some(Answer::Piece(piece)) => piece.transpose(),
            Some(_) | None => Some(Err(HttpRequestError::Broken(GONE.to_owned()))),
        };
        self.0.is_over = !matches!(piece, Some(Ok(_)));
        piece
    }
}

const GONE: &str = "the host process has ended";

#[async_trait]
impl HostServices for ThroughHost {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeouts: Timeouts,
    ) -> Result<http::Response<Body>, HttpRequestError> {
        if request.body().len() as u64 > self.request_bytes {
            return Err(
                self.refused(&request, HttpRequestError::RequestTooLong(self.request_bytes))
            );
        }
        let Ok(response) = self.responses.clone().try_acquire_owned() else {
            let why = format!("the attempt has {RESPONSES} responses that it has not read");
            return Err(self.refused(&request, HttpRequestError::NoRoom(why)));
        };
        match self.link.call(HostCall::Send(request.into(), timeouts)).await {
            Some((Answer::Sent(Ok(head)), mut begun)) => {
                // The call is answered, and its response goes on.
                begun.places = vec![response];
                let body: Body = Box::new(Remote(begun));
                head.with(body).map_err(|error| HttpRequestError::Broken(error.to_string()))
            }
            Some((Answer::Sent(Err(unsent)), mut begun)) => {
                begun.is_over = true;
                Err(unsent)
            }
            Some(_) | None => Err(HttpRequestError::Broken(GONE.to_owned())),
        }
    }

    async fn key_value(&self, call: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        let length = length(&call);
        if length > self.value_bytes.saturating_add(SHORT_BYTES) {
            let most = self.value_bytes;
            let message = format!("{length} bytes exceed the granted maximum of {most} bytes");
            let unkept = KeyValueError::Refused(message);
            self.log(&unkept.line());
            return Err(unkept);
        }
        match self.link.answer(HostCall::KeyValue(call)).await {
            Some(Answer::KeyValue(kept)) => kept,
            Some(_) | None => Err(KeyValueError::Failed(GONE.to_owned())),
        }
    }

    fn request_bytes(&self) -> u64 {
        self.request_bytes
    }
}

/// The size of a call, in bytes.
fn length(call: &KeyValueCall) -> u64 {
    let parts = match call {
        KeyValueCall::Get { bucket, key } | KeyValueCall::Delete { bucket, key } => {
            [bucket.len(), key.len(), 0, 0]
        }
        KeyValueCall::Increment { bucket, key, .. } => [bucket.len(), key.len(), 0, 0],
        KeyValueCall::Set { bucket, key, value } => [bucket.len(), key.len(), value.len(), 0],
        // The expected value is sent as a digest.
        KeyValueCall::Swap { bucket, key, to, .. } => [bucket.len(), key.len(), to.len(), 0],
        KeyValueCall::Open { bucket } => [bucket.len(), 0, 0, 0],
        KeyValueCall::Keys { bucket, after } => {
            [bucket.len(), after.as_ref().map_or(0, String::len), 0, 0]
        }
    };
    parts.into_iter().sum::<usize>() as u64
}
