//! Connection slots. Idle connections belong to no tenant. When all slots are in use, the longest-idle
//! connection of the address with most idle ones is closed. So clients that connect and send nothing keep
//! out nobody but themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::shares::Taken;

/// See the module's text.
#[derive(Debug, Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    silent: Arc<Mutex<Silent>>,
}

/// Connections on which nothing is under way, by address and in the order in which they became so.
#[derive(Debug, Default)]
struct Silent {
    turns: u64,
    by_address: BTreeMap<IpAddr, BTreeMap<u64, Arc<Notify>>>,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    of: Places,
    address: IpAddr,
    state: Mutex<State>,
    given_up: Arc<Notify>,
    _taken: OwnedSemaphorePermit,
}

/// A request's share of those that are under way: kept until its answer is written, or what it does has
/// ended. So a tenant whose clients do not read their answers holds no more connections than its share.
#[derive(Debug, Clone)]
pub(super) struct UnderWay {
    _taken: Arc<Taken>,
}

impl UnderWay {
    pub(super) fn new(taken: Taken) -> Self {
        Self { _taken: Arc::new(taken) }
    }
}

/// What a connection does.
#[derive(Debug)]
enum State {
    /// Nothing, since this turn.
    Silent(u64),
    /// A request is answered.
    Busy,
    /// The answer was made, and not all of it may be written: the request is under way until it is.
    Writing { _request: Option<UnderWay> },
}

impl Places {
    /// So many.
    pub(super) fn new(most: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), silent: Arc::default() }
    }

    /// A place for a connection from `address`: if there is none, a silent connection gives way.
    pub(super) async fn take(&self, address: IpAddr) -> Arc<Place> {
        let address = network(address);
        let taken = match self.all.clone().try_acquire_owned() {
            Ok(taken) => taken,
            Err(_) => {
                self.lock().give_up_one();
                // Never closed, so this ends.
                loop {
                    if let Ok(taken) = self.all.clone().acquire_owned().await {
                        break taken;
                    }
                }
            }
        };
        let given_up = Arc::new(Notify::new());
        let turn = self.lock().add(address, &given_up);
        let state = Mutex::new(State::Silent(turn));
        Arc::new(Place { of: self.clone(), address, state, given_up, _taken: taken })
    }

    fn lock(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Silent {
    fn add(&mut self, address: IpAddr, given_up: &Arc<Notify>) -> u64 {
        self.turns += 1;
        self.by_address.entry(address).or_default().insert(self.turns, given_up.clone());
        self.turns
    }

    fn remove(&mut self, address: IpAddr, turn: u64) {
        if let Some(of_address) = self.by_address.get_mut(&address) {
            of_address.remove(&turn);
            if of_address.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    fn give_up_one(&mut self) {
        let most = self.by_address.iter().max_by_key(|(_, silent)| silent.len());
        let Some((address, silent)) = most else { return };
        if let Some((turn, given_up)) = silent.first_key_value() {
            given_up.notify_one();
            let (address, turn) = (*address, *turn);
            self.remove(address, turn);
        }
    }
}

impl Place {
    /// Returns when the connection has to give its place to another one.
    pub(super) async fn given_up(&self) {
        self.given_up.notified().await;
    }

    /// A request has come.
    pub(super) fn begin(&self) {
        let before = std::mem::replace(&mut *self.state(), State::Busy);
        if let State::Silent(turn) = before {
            self.of.lock().remove(self.address, turn);
        }
    }

    /// Its answer was made.
    pub(super) fn end(&self, request: Option<UnderWay>) {
        *self.state() = State::Writing { _request: request };
    }

    /// All that there was to write is written.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        if matches!(*state, State::Writing { .. }) {
            *state = State::Silent(self.of.lock().add(self.address, &self.given_up));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let State::Silent(turn) = *self.state() {
            self.of.lock().remove(self.address, turn);
        }
    }
}

/// The addresses that one client commonly has: of IPv6 a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

#[cfg(test)]
mod tests;
