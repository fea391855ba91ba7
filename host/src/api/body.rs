//! Reading a request's body: never more of it than is taken, never for longer than is decent, and
//! never more of all bodies together than the host has memory for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::Semaphore;

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

impl Bodies {
    /// Nothing is being read yet.
    pub(super) fn new() -> Self {
        Self::with_deadline(READ_DEADLINE)
    }

    fn with_deadline(deadline: Duration) -> Self {
        Self { budget: Arc::new(Semaphore::new(units(BUDGET_BYTES) as usize)), deadline }
    }

    /// The whole of a body that is at most `most` bytes; `what` names it in errors.
    pub(super) async fn read(
        &self,
        what: &str,
        headers: &HeaderMap,
        body: Body,
        most: u64,
    ) -> Result<Bytes, ApiError> {
        let declared = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > most) {
            return Err(ApiError::too_large(what, most));
        }
        let _place = self
            .budget
            .try_acquire_many(units(declared.unwrap_or(most)))
            .map_err(|_| ApiError::busy("the host is reading as many bodies as it has room for"))?;
        let limit = usize::try_from(most).unwrap_or(usize::MAX);
        let whole = Limited::new(body, limit).collect();
        match tokio::time::timeout(self.deadline, whole).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(ApiError::too_large(what, most))
            }
            Ok(Err(error)) => Err(ApiError::bad_request("broken_body", error)),
            Err(_) => Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                format!("the {what} did not arrive within {} s", self.deadline.as_secs()),
            )),
        }
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let bodies = Bodies::with_deadline(Duration::from_millis(20));
        let endless = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
        let answer = bodies.read("payload", &HeaderMap::new(), endless, 10).await;
        let problem = answer.expect_err("it never ended").problem();
        assert_eq!((&problem["status"], &problem["code"]), (&408.into(), &"body_timeout".into()));
    }

    #[tokio::test]
    async fn a_body_is_refused_while_it_is_read_not_after() {
        let bodies = Bodies::new();
        // Without a length, and endless: only a limit that counts while reading can end this.
        let chunk = || Some((Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024])), ()));
        let flood = futures_util::stream::unfold((), move |()| async move { chunk() });
        let answer =
            bodies.read("payload", &HeaderMap::new(), Body::from_stream(flood), 4096).await;
        assert_eq!(answer.expect_err("too large").problem()["status"], 413);
    }
}
