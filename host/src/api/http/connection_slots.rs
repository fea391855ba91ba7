//! Connection slots. Idle connections belong to no tenant. When all slots are in use, the longest-idle
//! connection of the address with the most idle ones is closed. If none is idle, a connection of the address
//! with the most connections is closed: the one that has waited longest for its client to read a response. So
//! clients that connect and send nothing, or do not read, only lock out themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::shares::Permit;

/// The slots of a host.
#[derive(Debug, Clone)]
pub(in crate::api) struct ConnectionSlots {
    permits: Arc<Semaphore>,
    connections: Arc<Mutex<Connections>>,
}

/// The open connections.
#[derive(Debug, Default)]
struct Connections {
    /// The number of the latest wait. Each wait of a connection for its client has its own.
    waits: u64,
    /// Connections that wait for a request.
    idle: ByAddress,
    /// Connections that wait for their client to read a response.
    writing: ByAddress,
    /// The number of connections of each address.
    counts: BTreeMap<IpAddr, usize>,
}

/// Waiting connections by address, then by the number of the wait, which is their order.
type ByAddress = BTreeMap<IpAddr, BTreeMap<u64, Arc<Notify>>>;

/// The slot of one connection; released on drop.
#[derive(Debug)]
pub(in crate::api) struct ConnectionSlot {
    slots: ConnectionSlots,
    address: IpAddr,
    state: Mutex<State>,
    evicted: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

/// The permit of a request in flight, kept until its response is written and its change, if it makes one, has
/// ended. So a tenant whose clients do not read responses uses no more connections than its share.
#[derive(Debug, Clone)]
pub(in crate::api) struct RequestPermit {
    _permit: Arc<Permit>,
}

impl RequestPermit {
    pub(in crate::api) fn new(permit: Permit) -> Self {
        Self { _permit: Arc::new(permit) }
    }
}

/// The state of a connection.
#[derive(Debug)]
enum State {
    /// It waits for a request; the number of the wait.
    Idle(u64),
    /// A request is being handled.
    Busy,
    /// The response is complete, but may not be written completely; the request is in flight until it is.
    Writing { wait: u64, _request: Option<RequestPermit> },
}

impl ConnectionSlots {
    /// `max` slots.
    pub(in crate::api) fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), connections: Arc::default() }
    }

    /// A slot for a connection from `address`. If none is free, this evicts a connection that waits for its
    /// client.
    pub(in crate::api) async fn acquire(&self, address: IpAddr) -> Arc<ConnectionSlot> {
        let address = network(address);
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.lock().evict_one();
                // The semaphore is never closed, so the loop ends.
                loop {
                    if let Ok(permit) = self.permits.clone().acquire_owned().await {
                        break permit;
                    }
                }
            }
        };
        let evicted = Arc::new(Notify::new());
        let wait = self.lock().open(address, &evicted);
        let state = Mutex::new(State::Idle(wait));
        Arc::new(ConnectionSlot { slots: self.clone(), address, state, evicted, _permit: permit })
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// Adds an idle connection. Returns the number of its wait.
    fn open(&mut self, address: IpAddr, evicted: &Arc<Notify>) -> u64 {
        *self.counts.entry(address).or_default() += 1;
        self.add_idle(address, evicted)
    }

    fn close(&mut self, address: IpAddr) {
        if let Some(count) = self.counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }

    fn add_idle(&mut self, address: IpAddr, evicted: &Arc<Notify>) -> u64 {
        self.waits += 1;
        self.idle.entry(address).or_default().insert(self.waits, evicted.clone());
        self.waits
    }

    fn add_writing(&mut self, address: IpAddr, evicted: &Arc<Notify>) -> u64 {
        self.waits += 1;
        self.writing.entry(address).or_default().insert(self.waits, evicted.clone());
        self.waits
    }

    /// Ends the wait with this number.
    fn remove(&mut self, address: IpAddr, wait: u64) {
        for waiting in [&mut self.idle, &mut self.writing] {
            if let Some(of_address) = waiting.get_mut(&address) {
                of_address.remove(&wait);
                if of_address.is_empty() {
                    waiting.remove(&address);
                }
            }
        }
    }

    fn evict_one(&mut self) {
        let count = |address: &IpAddr| self.counts.get(address).copied().unwrap_or_default();
        let idle = self.idle.iter().max_by_key(|(_, idle)| idle.len());
        let most = idle.or_else(|| self.writing.iter().max_by_key(|(address, _)| count(address)));
        let Some((address, waiting)) = most else { return };
        if let Some((wait, evicted)) = waiting.first_key_value() {
            evicted.notify_one();
            let (address, wait) = (*address, *wait);
            self.remove(address, wait);
        }
    }
}

impl ConnectionSlot {
    /// Returns when the connection must be closed, because another one needs its slot.
    pub(in crate::api) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// A request has arrived.
    pub(in crate::api) fn begin(&self) {
        let before = std::mem::replace(&mut *self.state(), State::Busy);
        self.end_wait(&before);
    }

    /// The response to the request is complete.
    pub(in crate::api) fn end(&self, request: Option<RequestPermit>) {
        let wait = self.slots.lock().add_writing(self.address, &self.evicted);
        let now = State::Writing { wait, _request: request };
        let before = std::mem::replace(&mut *self.state(), now);
        self.end_wait(&before);
    }

    /// All responses are written.
    pub(in crate::api) fn flushed(&self) {
        let mut state = self.state();
        if matches!(*state, State::Writing { .. }) {
            let wait = self.slots.lock().add_idle(self.address, &self.evicted);
            let before = std::mem::replace(&mut *state, State::Idle(wait));
            self.end_wait(&before);
        }
    }

    /// Ends the wait of an earlier state, if it had one.
    fn end_wait(&self, before: &State) {
        if let State::Idle(wait) | State::Writing { wait, .. } = before {
            self.slots.lock().remove(self.address, *wait);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.end_wait(&self.state());
        self.slots.lock().close(self.address);
    }
}

/// The network of addresses that one client commonly has: for IPv6, the first 64 bits.
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
