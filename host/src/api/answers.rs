//! Room for answers: those that are being made or sent never take more together than the host has
//! memory for, however many clients ask for much and read nothing.
//!
//! An answer that takes much to make asks for [`Answers::room`] first. [`hold`] is around every
//! request: it keeps as much of that room as the answer is long until the last byte has gone to the
//! operating system, and takes room for those that did not ask. Answers that are sent in pieces hold
//! only a piece, and need none.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::App;
use super::error::ApiError;

/// What all answers may take together: sixteen of the longest outputs, and as much as the bodies of
/// requests.
const BUDGET_BYTES: u64 = 256 << 20;

/// The unit in which that is counted. Answers that are no longer need no room, so that who asks for
/// little is served whatever others do: as many as there are connections take 64 MiB.
const UNIT_BYTES: u64 = 64 << 10;

/// How long an answer waits for room: those before it are sent by then, to clients that read.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Answers {
    budget: Arc<Semaphore>,
    units: u32,
    patience: Duration,
}

/// Room for one answer, until dropped.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<OwnedSemaphorePermit>);

/// Bytes that have their room as long as somebody holds them.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    /// Nothing is being answered yet; the longest answer that is made at once takes about `longest`
    /// bytes.
    pub(super) fn new(longest: u64) -> Self {
        Self::bounded(BUDGET_BYTES.max(longest), PATIENCE)
    }

    fn bounded(budget: u64, patience: Duration) -> Self {
        let units = units(budget);
        Self { budget: Arc::new(Semaphore::new(units as usize)), units, patience }
    }

    /// Room for an answer that takes `bytes` to make.
    ///
    /// # Errors
    /// If there is none in time.
    pub(super) async fn room(&self, bytes: u64) -> Result<Room, ApiError> {
        // What takes more than all there is, has all.
        let units = units(bytes).min(self.units);
        let place = self.budget.clone().acquire_many_owned(units);
        match tokio::time::timeout(self.patience, place).await {
            Ok(Ok(place)) => Ok(Room(Arc::new(place))),
            _ => Err(no_room()),
        }
    }

    /// `response`, with room for what is not sent of it. `refusable` says whether one that asked
    /// for none may be refused; those to requests that changed something may not.
    async fn hold(&self, mut response: Response, refusable: bool) -> Result<Response, ApiError> {
        let asked = response.extensions_mut().remove::<Room>();
        let length = response.body().size_hint().exact().unwrap_or(0);
        if length <= UNIT_BYTES {
            return Ok(response);
        }
        let units = units(length).min(self.units);
        let place = match asked.and_then(|Room(place)| Arc::into_inner(place)) {
            Some(place) => shrunk(place, units),
            // Without waiting: it is made already, and takes what it takes.
            None => match self.budget.clone().try_acquire_many_owned(units) {
                Ok(place) => place,
                Err(_) if refusable => return Err(no_room()),
                Err(_) => return Ok(response),
            },
        };
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.map_err(ApiError::internal)?.to_bytes();
        // Not with the body, which is gone as soon as the bytes wait to be written.
        let held = Bytes::from_owner(Held { bytes, _room: place });
        Ok(Response::from_parts(head, Body::from(held)))
    }
}

impl Room {
    /// `response`, for which this room was taken.
    pub(super) fn with(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// As much of `place` as `units` need.
fn shrunk(mut place: OwnedSemaphorePermit, units: u32) -> OwnedSemaphorePermit {
    let more = place.num_permits().saturating_sub(units as usize);
    drop(place.split(more));
    place
}

/// Around every request: see the module's text.
pub(super) async fn hold(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let refusable = request.method().is_safe();
    let response = next.run(request).await;
    app.gates.answers.hold(response, refusable).await
}

fn no_room() -> ApiError {
    ApiError::busy("the host is sending as much as it has room for: try again later")
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(Semaphore::MAX_PERMITS as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for four units, and no patience.
    fn answers() -> Answers {
        Answers::bounded(4 * UNIT_BYTES, Duration::ZERO)
    }

    fn answer(units: u64) -> Response {
        Response::new(Body::from(vec![7; (units * UNIT_BYTES) as usize]))
    }

    /// The bytes of an answer, as a connection has them that waits to write them.
    async fn written(response: Response) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn room_is_held_until_the_last_byte_has_gone() {
        let answers = answers();
        let room = answers.room(4 * UNIT_BYTES).await.expect("there is room");
        let busy = answers.room(1).await.expect_err("it is taken").problem();
        assert_eq!((&busy["status"], &busy["code"]), (&503.into(), &"busy".into()));
        let held = answers.hold(room.with(answer(3)), true).await.expect("it has room");
        let one = answers.room(1).await.expect("what the answer did not need was given back");
        let bytes = written(held).await;
        assert_eq!(bytes.len() as u64, 3 * UNIT_BYTES);
        answers.room(1).await.expect_err("its bytes are not sent yet");
        drop((bytes, one));
        answers.room(4 * UNIT_BYTES).await.expect("all was given back");
    }

    #[tokio::test]
    async fn an_answer_that_asked_for_no_room_is_refused_when_there_is_none() {
        let answers = answers();
        let held = written(answers.hold(answer(3), true).await.expect("there is room")).await;
        answers.hold(answer(2), true).await.expect_err("there is none");
        answers.hold(answer(2), false).await.expect("what was done is told all the same");
        answers.hold(answer(1), true).await.expect("short ones need none");
        drop(held);
        answers.hold(answer(4), true).await.expect("all was given back");
    }

    #[tokio::test]
    async fn an_answer_larger_than_all_room_is_sent_alone() {
        let answers = answers();
        let room = answers.room(100 * UNIT_BYTES).await.expect("all of it");
        let held = written(answers.hold(room.with(answer(9)), true).await.unwrap()).await;
        answers.room(1).await.expect_err("it has all");
        drop(held);
        answers.room(1).await.expect("it was given back");
    }
}
