//! A bounded cache whose values take long to make, with single-flight: concurrent requests of one owner for
//! one key share one making. Owners do not share makings, because each may wait for a permit of its owner.
//!
//! Owns what is kept and for how long; not how it is made. Invariants: one making at a time for each
//! owner and key, which continues when all its waiters are dropped; a failure is not kept; the least
//! recently used values are evicted when the kept values exceed their bound in bytes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;

/// A value that is being made, for all its waiters.
pub(super) type Flight<V, E> = Shared<BoxFuture<'static, Result<V, E>>>;

/// The cache. Clones share it.
pub(super) struct SingleFlight<O, K, V, E> {
    inner: Arc<Mutex<Inner<O, K, V, E>>>,
}

impl<O, K, V, E> Clone for SingleFlight<O, K, V, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<O, K, V, E> {
    kept: HashMap<K, Kept<V>>,
    making: HashMap<OwnedKey<O, K>, Flight<V, E>>,
    most_bytes: u64,
    held_bytes: u64,
    uses: u64,
}

/// A key, and the owner on whose behalf its value is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OwnedKey<O, K> {
    pub(super) owner: O,
    pub(super) key: K,
}

/// A value that was made, with its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made<V> {
    pub(super) value: V,
    pub(super) bytes: u64,
}

struct Kept<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<O, K, V, E> SingleFlight<O, K, V, E>
where
    O: Hash + Eq + Clone + Send + 'static,
    K: Hash + Eq + Copy + Send + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + From<Broken> + 'static,
{
    pub(super) fn new(most_bytes: u64) -> Self {
        let (kept, making) = (HashMap::new(), HashMap::new());
        let inner = Inner { kept, making, most_bytes, held_bytes: 0, uses: 0 };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The value, if it is there.
    pub(super) fn ready(&self, key: &K) -> Option<V> {
        self.lock().ready(key).map(|made| made.value)
    }

    /// The value with its size, if it is there: for a making that had to wait.
    pub(super) fn made(&self, key: &K) -> Option<Made<V>> {
        self.lock().ready(key)
    }

    /// The value; `make` makes it on `threads`, unless it is already being made for this owner.
    pub(super) fn get<F>(
        &self,
        place: OwnedKey<O, K>,
        threads: &Handle,
        make: impl FnOnce() -> F,
    ) -> Flight<V, E>
    where
        F: Future<Output = Result<Made<V>, E>> + Send + 'static,
    {
        let mut inner = self.lock();
        if let Some(Made { value, .. }) = inner.ready(&place.key) {
            return futures_util::future::ready(Ok(value)).boxed().shared();
        }
        if let Some(flight) = inner.making.get(&place) {
            return flight.clone();
        }
        let making = threads.spawn(make());
        let (all, settling) = (self.clone(), place.clone());
        // A separate task, so that it completes even if all its waiters are dropped.
        let settled = threads.spawn(async move {
            let made = making.await.unwrap_or_else(|_| Err(Broken.into()));
            all.settle(&settling, made)
        });
        let flight =
            settled.map(|settled| settled.unwrap_or_else(|_| Err(Broken.into()))).boxed().shared();
        inner.making.insert(place, flight.clone());
        flight
    }

    fn settle(&self, place: &OwnedKey<O, K>, made: Result<Made<V>, E>) -> Result<V, E> {
        let inner = &mut *self.lock();
        inner.making.remove(place);
        let Made { value, bytes } = made?;
        // Another owner's making may have ended before: one of the two values is kept.
        if let Some(there) = inner.ready(&place.key) {
            return Ok(there.value);
        }
        inner.make_room(bytes);
        inner.held_bytes += bytes;
        let kept = Kept { value: value.clone(), bytes, used: inner.uses };
        inner.kept.insert(place.key, kept);
        Ok(value)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<O, K, V, E>> {
        // Nothing in between can panic and leave it torn.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O, K: Hash + Eq + Copy, V: Clone, E> Inner<O, K, V, E> {
    /// The value that is kept; counts as a use of it.
    fn ready(&mut self, key: &K) -> Option<Made<V>> {
        self.uses += 1;
        let kept = self.kept.get_mut(key)?;
        kept.used = self.uses;
        Some(Made { value: kept.value.clone(), bytes: kept.bytes })
    }

    /// Drops values until `bytes` more fit, or nothing is left to drop: a value that is larger than
    /// the bound is kept alone.
    fn make_room(&mut self, bytes: u64) {
        while self.held_bytes.saturating_add(bytes) > self.most_bytes {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
            let Some((key, freed)) = oldest.map(|(key, kept)| (*key, kept.bytes)) else { return };
            self.kept.remove(&key);
            self.held_bytes -= freed;
        }
    }
}

/// The making panicked, or its threads were stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

#[cfg(test)]
mod tests;
