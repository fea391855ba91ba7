//! Room for answers: those that are being made or sent never take more together than the host has
//! memory for, and those of a tenant no more than its share, however many clients ask for much and read
//! nothing. Answers of 64 KiB or less need no room: as many as there are connections take 64 MiB.
//!
//! An answer that takes much to make asks for [`TenantAnswers::room`] first. [`hold`](super::layers::hold) is around every
//! request: it keeps as much of that room as the answer is long until the last byte has gone to the
//! operating system, and takes room for those that did not ask. Answers that are sent in pieces hold
//! only a piece, and need none.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::response::Response;
use http_body_util::BodyExt as _;
use jobwright_core::tenant::TenantName;

use super::error::ApiError;
use crate::shares::table::{ANSWERS, UNIT_BYTES};
use crate::shares::{Permit, Share, Shares};

/// How long an answer waits for room: those before it are sent by then, to clients that read.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module's text.
#[derive(Debug)]
pub(in crate::api) struct Answers {
    room: Shares,
    patience: Duration,
}

/// Room for the answers to one tenant.
#[derive(Debug)]
pub(in crate::api) struct TenantAnswers {
    room: Share,
    patience: Duration,
}

/// Room for one answer, until dropped.
#[derive(Debug, Clone)]
pub(in crate::api) struct Room(Arc<Permit>);

/// Bytes that have their room as long as somebody holds them.
struct Held {
    bytes: Bytes,
    _room: Permit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    /// Nothing is being answered yet; the longest answer that is made at once takes about `longest`
    /// bytes.
    pub(in crate::api) fn new(longest: u64) -> Self {
        // A tenant that is alone has room for one of them.
        let all = ANSWERS.all.max(units(longest.saturating_mul(2)));
        Self { room: Shares::sized(&ANSWERS, all), patience: PATIENCE }
    }

    /// For `tenant`.
    pub(in crate::api) fn of(&self, tenant: &TenantName) -> TenantAnswers {
        TenantAnswers { room: self.room.of(tenant), patience: self.patience }
    }
}

impl TenantAnswers {
    /// Room for an answer that takes `bytes` to make.
    ///
    /// # Errors
    /// If there is none in time.
    pub(in crate::api) async fn room(&self, bytes: u64) -> Result<Room, ApiError> {
        // What takes more than the tenant may have, has that.
        let taking = self.room.acquire_many(units(bytes));
        match tokio::time::timeout(self.patience, taking).await {
            Ok(place) => Ok(Room(Arc::new(place))),
            Err(_) => Err(no_room()),
        }
    }

    /// `response`, with room for what is not sent of it. `refusable` says whether one that asked
    /// for none may be refused; those to requests that changed something may not.
    pub(in crate::api) async fn hold(
        &self,
        mut response: Response,
        refusable: bool,
    ) -> Result<Response, ApiError> {
        let asked = response.extensions_mut().remove::<Room>();
        let length = response.body().size_hint().exact().unwrap_or(0);
        if length <= UNIT_BYTES {
            return Ok(response);
        }
        let units = units(length);
        let place = match asked.and_then(|Room(place)| Arc::into_inner(place)) {
            Some(mut place) => {
                place.shrink(units);
                place
            }
            // Without waiting: it is made already, and takes what it takes.
            None => match self.room.try_acquire(units) {
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
    pub(in crate::api) fn with(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

fn no_room() -> ApiError {
    ApiError::busy("the host is sending as much as it has room for: try again later")
}

fn units(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for eight units, of which a tenant has four, and no patience.
    fn answers() -> TenantAnswers {
        let answers = Answers { room: Shares::sized(&ANSWERS, 8), patience: Duration::ZERO };
        answers.of(&TenantName::default())
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
        let held = written(answers.hold(answer(4), true).await.expect("there is room")).await;
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
