//! Reading a request's body: never more of it than is taken, never for longer than is decent, and
//! never more of all bodies together than the host has memory for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// How long a client may take to send a body: 32 MiB at 5 Mbit/s.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// What all bodies that are being read may take together.
const BUDGET_BYTES: u64 = 256 << 20;

/// The unit in which that is counted.
const UNIT_BYTES: u64 = 64 << 10;

/// Reads bodies.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    budget: Arc<Semaphore>,
    deadline: Duration,
}

/// A body that was read to its end.
#[derive(Debug)]
pub(super) struct Received {
    /// All of it.
    pub(super) bytes: Bytes,
    /// Its place among the bodies: kept as long as this is.
    _place: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Nothing is being read yet; the longest body will be about `longest` bytes.
    pub(super) fn new(longest: u64) -> Self {
        Self::bounded(BUDGET_BYTES.max(longest.saturating_mul(4)), READ_DEADLINE)
    }

    fn bounded(budget: u64, deadline: Duration) -> Self {
        let units = (units(budget) as usize).min(Semaphore::MAX_PERMITS);
        Self { budget: Arc::new(Semaphore::new(units)), deadline }
    }

    /// The whole of a body that is at most `most` bytes; `what` names it in errors.
    pub(super) async fn read(
        &self,
        what: &str,
        headers: &HeaderMap,
        body: Body,
        most: u64,
    ) -> Result<Received, ApiError> {
        unencoded(what, headers)?;
        let declared = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > most) {
            return Err(ApiError::too_large(what, most));
        }
        let late = |_| {
            let detail = format!("the {what} did not arrive within {} s", self.deadline.as_secs());
            ApiError::timeout("body_timeout", detail)
        };
        tokio::time::timeout(self.deadline, self.receive(what, body, most)).await.map_err(late)?
    }

    /// Takes room for what has come, never for what is only announced: who announces much and
    /// sends nothing keeps nobody out.
    async fn receive(&self, what: &str, mut body: Body, most: u64) -> Result<Received, ApiError> {
        // One piece of memory: a list of pieces can take many times what came in them.
        let mut whole = BytesMut::new();
        let mut place: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::bad_request("broken_body", error))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = (whole.len() + data.len()) as u64;
            if length > most {
                return Err(ApiError::too_large(what, most));
            }
            let held = place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let missing = units(length).saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
            let more = self.budget.clone().try_acquire_many_owned(missing).map_err(|_| {
                ApiError::busy("the host is reading as many bodies as it has room for")
            })?;
            match &mut place {
                Some(place) => place.merge(more),
                None => place = Some(more),
            }
            whole.extend_from_slice(&data);
        }
        Ok(Received { bytes: whole.freeze(), _place: place })
    }
}

/// Refuses a compressed body: taken as it is, it would be something else than was meant.
fn unencoded(what: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let names = encodings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut others = names
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
    let Some(name) = others.next() else { return Ok(()) };
    Err(ApiError::encoded(what, &String::from_utf8_lossy(name)))
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let bodies = Bodies::bounded(BUDGET_BYTES, Duration::from_millis(20));
        let endless = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        let answer = bodies.read("payload", &HeaderMap::new(), endless, 10).await;
        let problem = answer.expect_err("it never ended").problem();
        assert_eq!((&problem["status"], &problem["code"]), (&408.into(), &"body_timeout".into()));
    }

    #[tokio::test]
    async fn a_body_is_refused_while_it_is_read_not_after() {
        let bodies = Bodies::new(0);
        // Without a length, and endless: only a limit that counts while reading can end this.
        let chunk = || Some((Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024])), ()));
        let flood = futures_util::stream::unfold((), move |()| async move { chunk() });
        let answer =
            bodies.read("payload", &HeaderMap::new(), Body::from_stream(flood), 4096).await;
        assert_eq!(answer.expect_err("too large").problem()["status"], 413);
    }

    #[tokio::test]
    async fn all_bodies_together_take_no_more_than_there_is_room_for() {
        let bodies = Bodies::bounded(4 * UNIT_BYTES, READ_DEADLINE);
        let read = async |units: u64| {
            let body = Body::from(vec![0; (units * UNIT_BYTES) as usize]);
            bodies.read("payload", &HeaderMap::new(), body, 100 * UNIT_BYTES).await
        };
        let held = read(3).await.expect("there is room");
        assert_eq!(read(2).await.expect_err("there is none").problem()["code"], "busy");
        read(1).await.expect("there is room for this");
        drop(held);
        read(4).await.expect("all was given back");
    }
}
