//! Connection slots. Idle connections belong to no tenant. When all slots are in use, the longest-idle
//! connection of the address with most idle ones is closed; if none is idle, of the address with most
//! connections the one whose client has been reading its answer for longest. So clients that connect and
//! send nothing, or do not read, keep out nobody but themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::shares::Permit;

/// See the module's text.
#[derive(Debug, Clone)]
pub(in crate::api) struct Places {
    all: Arc<Semaphore>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Connections that wait for their clients.
#[derive(Debug, Default)]
struct Waiting {
    turns: u64,
    /// For a request.
    silent: ByAddress,
    /// To read an answer.
    writing: ByAddress,
    /// Of each address, those that do anything.
    all: BTreeMap<IpAddr, usize>,
}

/// By address, in the order in which they began to wait.
type ByAddress = BTreeMap<IpAddr, BTreeMap<u64, Arc<Notify>>>;

/// The place of one connection.
#[derive(Debug)]
pub(in crate::api) struct Place {
    of: Places,
    address: IpAddr,
    state: Mutex<State>,
    given_up: Arc<Notify>,
    _taken: OwnedSemaphorePermit,
}

/// A request's share of those that are under way: kept until its answer is written, or what it does has
/// ended. So a tenant whose clients do not read their answers holds no more connections than its share.
#[derive(Debug, Clone)]
pub(in crate::api) struct UnderWay {
    _taken: Arc<Permit>,
}

impl UnderWay {
    pub(in crate::api) fn new(taken: Permit) -> Self {
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
    /// The answer was made at this turn, and not all of it may be written: the request is under way until
    /// it is.
    Writing { turn: u64, _request: Option<UnderWay> },
}

impl Places {
    /// So many.
    pub(in crate::api) fn new(most: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), waiting: Arc::default() }
    }

    /// A place for a connection from `address`: if there is none, one that waits for its client gives way.
    pub(in crate::api) async fn take(&self, address: IpAddr) -> Arc<Place> {
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
        let turn = self.lock().open(address, &given_up);
        let state = Mutex::new(State::Silent(turn));
        Arc::new(Place { of: self.clone(), address, state, given_up, _taken: taken })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// A new connection, which is silent.
    fn open(&mut self, address: IpAddr, given_up: &Arc<Notify>) -> u64 {
        *self.all.entry(address).or_default() += 1;
        self.is_silent(address, given_up)
    }

    fn close(&mut self, address: IpAddr) {
        if let Some(count) = self.all.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.all.remove(&address);
            }
        }
    }

    fn is_silent(&mut self, address: IpAddr, given_up: &Arc<Notify>) -> u64 {
        self.turns += 1;
        self.silent.entry(address).or_default().insert(self.turns, given_up.clone());
        self.turns
    }

    fn is_writing(&mut self, address: IpAddr, given_up: &Arc<Notify>) -> u64 {
        self.turns += 1;
        self.writing.entry(address).or_default().insert(self.turns, given_up.clone());
        self.turns
    }

    /// It waits no more: every turn is of one connection.
    fn remove(&mut self, address: IpAddr, turn: u64) {
        for waiting in [&mut self.silent, &mut self.writing] {
            if let Some(of_address) = waiting.get_mut(&address) {
                of_address.remove(&turn);
                if of_address.is_empty() {
                    waiting.remove(&address);
                }
            }
        }
    }

    fn give_up_one(&mut self) {
        let all = |address: &IpAddr| self.all.get(address).copied().unwrap_or_default();
        let silent = self.silent.iter().max_by_key(|(_, silent)| silent.len());
        let most = silent.or_else(|| self.writing.iter().max_by_key(|(address, _)| all(address)));
        let Some((address, waiting)) = most else { return };
        if let Some((turn, given_up)) = waiting.first_key_value() {
            given_up.notify_one();
            let (address, turn) = (*address, *turn);
            self.remove(address, turn);
        }
    }
}

impl Place {
    /// Returns when the connection has to give its place to another one.
    pub(in crate::api) async fn given_up(&self) {
        self.given_up.notified().await;
    }

    /// A request has come.
    pub(in crate::api) fn begin(&self) {
        let before = std::mem::replace(&mut *self.state(), State::Busy);
        self.left(&before);
    }

    /// Its answer was made.
    pub(in crate::api) fn end(&self, request: Option<UnderWay>) {
        let turn = self.of.lock().is_writing(self.address, &self.given_up);
        let now = State::Writing { turn, _request: request };
        let before = std::mem::replace(&mut *self.state(), now);
        self.left(&before);
    }

    /// All that there was to write is written.
    pub(in crate::api) fn flushed(&self) {
        let mut state = self.state();
        if matches!(*state, State::Writing { .. }) {
            let turn = self.of.lock().is_silent(self.address, &self.given_up);
            let before = std::mem::replace(&mut *state, State::Silent(turn));
            self.left(&before);
        }
    }

    /// Waits no more as it did before.
    fn left(&self, before: &State) {
        if let State::Silent(turn) | State::Writing { turn, .. } = before {
            self.of.lock().remove(self.address, *turn);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.left(&self.state());
        self.of.lock().close(self.address);
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
