//! The body of a response between the connection, which fills it, and the guest, which empties it.
//!
//! Invariants: what has arrived is held once, in counted room, until the guest takes it; the connection
//! does not wait for the guest, so that its place is free for another request as soon as the response is
//! there; dropping the guest's end ends the connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::services::HttpRequestError;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::room::{Held, Room};

/// The connection's end.
#[derive(Debug)]
pub(super) struct Filling {
    shared: Arc<Shared>,
    /// The longest body, in bytes.
    most: u64,
    /// What has arrived so far, in bytes.
    arrived: u64,
}

/// The guest's end.
#[derive(Debug)]
pub(super) struct Arriving {
    shared: Arc<Shared>,
    /// Ended when this is dropped.
    _connection: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    /// What the guest has not taken yet.
    held: Held,
    /// How it ended, if it has; an error until the guest takes it.
    ended: Option<Result<(), HttpRequestError>>,
}

/// Both ends of a body of up to `most` bytes, held in `room`.
pub(super) fn ends(room: &Room, most: u64) -> (Filling, Ready) {
    let state = Mutex::new(State { held: room.body(most), ended: None });
    let shared = Arc::new(Shared { state, news: Notify::new() });
    (Filling { shared: shared.clone(), most, arrived: 0 }, Ready(shared))
}

/// The guest's end, before there is a connection.
pub(super) struct Ready(Arc<Shared>);

impl Ready {
    /// The body that `connection` fills.
    pub(super) fn from(self, connection: JoinSet<()>) -> Arriving {
        Arriving { shared: self.0, _connection: connection }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filling {
    /// Refuses a body that is announced to be longer than it may be.
    pub(super) fn expect(&self, length: u64) -> Result<(), HttpRequestError> {
        if length > self.most { Err(HttpRequestError::ResponseTooLong(self.most)) } else { Ok(()) }
    }

    /// Adds what has arrived.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), HttpRequestError> {
        self.arrived += data.len() as u64;
        self.expect(self.arrived)?;
        if data.is_empty() {
            return Ok(());
        }
        self.shared.state().held.push(data)?;
        self.shared.news.notify_one();
        Ok(())
    }

    /// Ends the body.
    pub(super) fn end(&self, how: Result<(), HttpRequestError>) {
        self.shared.state().ended.get_or_insert(how);
        self.shared.news.notify_one();
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.end(Err(HttpRequestError::Broken("the host failed, or is about to stop".to_owned())));
    }
}

impl Arriving {
    /// What has arrived and was not taken yet; none at the end.
    pub(super) async fn piece(&mut self) -> Option<Result<Held, HttpRequestError>> {
        loop {
            {
                let mut state = self.shared.state();
                if !state.held.as_ref().is_empty() {
                    return Some(Ok(state.held.take()));
                }
                if let Some(ended) = &mut state.ended {
                    return std::mem::replace(ended, Ok(())).err().map(Err);
                }
            }
            self.shared.news.notified().await;
        }
    }

    /// All that was not taken yet, once it is all there.
    pub(super) async fn rest(&mut self) -> Result<Held, HttpRequestError> {
        loop {
            {
                let mut state = self.shared.state();
                if let Some(ended) = &mut state.ended {
                    return std::mem::replace(ended, Ok(())).map(|()| state.held.take());
                }
            }
            self.shared.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use jobwright_core::tenant::TenantName;

    use super::super::room::HostRoom;
    use super::*;

    fn arriving(most: u64) -> (Filling, Arriving) {
        let room = HostRoom::default().part(&TenantName::default(), 1 << 20);
        let (filling, ready) = ends(&room, most);
        (filling, ready.from(JoinSet::new()))
    }

    async fn next(arriving: &mut Arriving) -> Option<Result<Vec<u8>, HttpRequestError>> {
        arriving.piece().await.map(|piece| piece.map(|held| held.as_ref().to_vec()))
    }

    #[tokio::test]
    async fn a_body_is_taken_in_pieces_as_it_arrives() {
        let (mut filling, mut arriving) = arriving(10);
        filling.push(b"one").expect("room");
        assert_eq!(next(&mut arriving).await, Some(Ok(b"one".to_vec())));
        filling.push(b"two").expect("room");
        filling.push(b"six").expect("room");
        assert_eq!(next(&mut arriving).await, Some(Ok(b"twosix".to_vec())));
        let waiting = next(&mut arriving);
        let filling = async {
            tokio::task::yield_now().await;
            filling.push(b"!").expect("room");
            filling.end(Ok(()));
        };
        let (piece, ()) = tokio::join!(waiting, filling);
        assert_eq!(piece, Some(Ok(b"!".to_vec())));
        assert_eq!((next(&mut arriving).await, next(&mut arriving).await), (None, None));
    }

    #[tokio::test]
    async fn an_error_comes_after_what_has_arrived_and_once() {
        let (mut filling, mut arriving) = arriving(5);
        filling.push(b"12345").expect("as long as it may be");
        let too_long = HttpRequestError::ResponseTooLong(5);
        assert_eq!(filling.push(b"6"), Err(too_long.clone()));
        filling.end(Err(too_long.clone()));
        assert_eq!(next(&mut arriving).await, Some(Ok(b"12345".to_vec())));
        assert_eq!(next(&mut arriving).await, Some(Err(too_long)));
        assert_eq!(next(&mut arriving).await, None);
    }

    #[tokio::test]
    async fn all_of_it_is_taken_when_it_has_ended_well_and_not_else() {
        let (mut filling, mut all) = arriving(5);
        filling.push(b"123").expect("room");
        filling.push(b"45").expect("room");
        filling.end(Ok(()));
        assert_eq!(all.rest().await.map(|held| held.as_ref().to_vec()), Ok(b"12345".to_vec()));
        let (mut filling, mut broken) = arriving(5);
        filling.push(b"123").expect("room");
        drop(filling);
        assert!(matches!(broken.rest().await, Err(HttpRequestError::Broken(_))));
    }
}
