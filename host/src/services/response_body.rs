//! The body of a response: a buffer that the connection fills and the guest reads.
//!
//! Invariants: bytes that have arrived are stored once, within the budget, until the guest takes them; the
//! connection does not wait for the guest, so that the permit of the request is released as soon as the
//! response is complete; dropping the guest's end closes the connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::services::HttpRequestError;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::body_budget::{BodyBudget, BodyBuffer};

/// The connection's end.
#[derive(Debug)]
pub(super) struct BodyWriter {
    shared: Arc<Shared>,
    /// The maximum length of the body.
    max_bytes: u64,
    /// The length of the body so far.
    arrived_bytes: u64,
}

/// The guest's end.
#[derive(Debug)]
pub(super) struct ResponseBody {
    shared: Arc<Shared>,
    /// The task of the connection, which is aborted on drop.
    _connection: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// The bytes that the guest has not taken yet.
    buffer: BodyBuffer,
    /// How the body ended, once it has. An error is replaced by `Ok` when the guest has received it.
    ended: Option<Result<(), HttpRequestError>>,
}

/// Both ends of a body of up to `max_bytes`, stored within `budget`.
pub(super) fn channel(budget: &BodyBudget, max_bytes: u64) -> (BodyWriter, PendingBody) {
    let state = Mutex::new(State { buffer: budget.buffer(max_bytes), ended: None });
    let shared = Arc::new(Shared { state, changed: Notify::new() });
    (BodyWriter { shared: shared.clone(), max_bytes, arrived_bytes: 0 }, PendingBody(shared))
}

/// The guest's end, before there is a connection.
pub(super) struct PendingBody(Arc<Shared>);

impl PendingBody {
    /// The body that the task `connection` fills.
    pub(super) fn filled_by(self, connection: JoinSet<()>) -> ResponseBody {
        ResponseBody { shared: self.0, _connection: connection }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BodyWriter {
    /// Checks the length of the body, or what is known of it.
    ///
    /// # Errors
    /// If it exceeds the maximum.
    pub(super) fn check_length(&self, bytes: u64) -> Result<(), HttpRequestError> {
        let max = self.max_bytes;
        if bytes > max { Err(HttpRequestError::ResponseTooLong(max)) } else { Ok(()) }
    }

    /// Appends `data`.
    ///
    /// # Errors
    /// If the body exceeds its maximum or the budget.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), HttpRequestError> {
        self.arrived_bytes += data.len() as u64;
        self.check_length(self.arrived_bytes)?;
        if data.is_empty() {
            return Ok(());
        }
        self.shared.state().buffer.push(data)?;
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Ends the body, unless it has ended already.
    pub(super) fn end(&self, result: Result<(), HttpRequestError>) {
        self.shared.state().ended.get_or_insert(result);
        self.shared.changed.notify_one();
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        self.end(Err(HttpRequestError::Broken("the host failed, or is stopping".to_owned())));
    }
}

impl ResponseBody {
    /// Waits for bytes, and takes all that have arrived; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<BodyBuffer, HttpRequestError>> {
        loop {
            {
                let mut state = self.shared.state();
                if !state.buffer.as_ref().is_empty() {
                    return Some(Ok(state.buffer.take()));
                }
                if let Some(ended) = &mut state.ended {
                    return std::mem::replace(ended, Ok(())).err().map(Err);
                }
            }
            self.shared.changed.notified().await;
        }
    }

    /// Waits for the end, and takes the rest of the body.
    pub(super) async fn rest(&mut self) -> Result<BodyBuffer, HttpRequestError> {
        loop {
            {
                let mut state = self.shared.state();
                if let Some(ended) = &mut state.ended {
                    return std::mem::replace(ended, Ok(())).map(|()| state.buffer.take());
                }
            }
            self.shared.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use jobwright_core::tenant::TenantName;

    use super::super::body_budget::HostBodyBudget;
    use super::*;

    fn both_ends(max_bytes: u64) -> (BodyWriter, ResponseBody) {
        let budget = HostBodyBudget::default().of_attempt(&TenantName::default(), 1 << 20);
        let (writer, pending) = channel(&budget, max_bytes);
        (writer, pending.filled_by(JoinSet::new()))
    }

    async fn next(body: &mut ResponseBody) -> Option<Result<Vec<u8>, HttpRequestError>> {
        body.next().await.map(|piece| piece.map(|bytes| bytes.as_ref().to_vec()))
    }

    #[tokio::test]
    async fn a_body_is_read_in_pieces_as_it_arrives() {
        let (mut writer, mut body) = both_ends(10);
        writer.push(b"one").expect("within the budget");
        assert_eq!(next(&mut body).await, Some(Ok(b"one".to_vec())));
        writer.push(b"two").expect("within the budget");
        writer.push(b"six").expect("within the budget");
        assert_eq!(next(&mut body).await, Some(Ok(b"twosix".to_vec())));
        let waiting = next(&mut body);
        let writing = async {
            tokio::task::yield_now().await;
            writer.push(b"!").expect("within the budget");
            writer.end(Ok(()));
        };
        let (piece, ()) = tokio::join!(waiting, writing);
        assert_eq!(piece, Some(Ok(b"!".to_vec())));
        assert_eq!((next(&mut body).await, next(&mut body).await), (None, None));
    }

    #[tokio::test]
    async fn an_error_is_returned_once_and_after_all_bytes() {
        let (mut writer, mut body) = both_ends(5);
        writer.push(b"12345").expect("the maximum length");
        let too_long = HttpRequestError::ResponseTooLong(5);
        assert_eq!(writer.push(b"6"), Err(too_long.clone()));
        writer.end(Err(too_long.clone()));
        assert_eq!(next(&mut body).await, Some(Ok(b"12345".to_vec())));
        assert_eq!(next(&mut body).await, Some(Err(too_long)));
        assert_eq!(next(&mut body).await, None);
    }

    #[tokio::test]
    async fn the_rest_is_returned_only_if_the_body_is_complete() {
        let (mut writer, mut complete) = both_ends(5);
        writer.push(b"123").expect("within the budget");
        writer.push(b"45").expect("within the budget");
        writer.end(Ok(()));
        assert_eq!(
            complete.rest().await.map(|bytes| bytes.as_ref().to_vec()),
            Ok(b"12345".to_vec())
        );
        let (mut writer, mut broken) = both_ends(5);
        writer.push(b"123").expect("within the budget");
        drop(writer);
        assert!(matches!(broken.rest().await, Err(HttpRequestError::Broken(_))));
    }
}
