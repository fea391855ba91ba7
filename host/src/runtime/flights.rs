//! A bounded cache whose entries take long to make: whoever wants the same at the same time waits
//! for one making of it.
//!
//! Owns what is kept and for how long; not how it is made. Invariants: one making at a time for each
//! key, which goes on although everyone who waited goes away; a failure is not kept; what was not
//! used for longest goes when the kept values exceed their bound in bytes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;

/// A value being made, for all who wait for it.
pub(super) type Flight<V, E> = Shared<BoxFuture<'static, Result<V, E>>>;

/// The cache. Clones share it.
pub(super) struct Flights<K, V, E> {
    inner: Arc<Mutex<Inner<K, V, E>>>,
}

impl<K, V, E> Clone for Flights<K, V, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<K, V, E> {
    entries: HashMap<K, Entry<V, E>>,
    most_bytes: u64,
    held_bytes: u64,
    uses: u64,
}

enum Entry<V, E> {
    Ready { value: V, bytes: u64, used: u64 },
    Making(Flight<V, E>),
}

impl<K, V, E> Flights<K, V, E>
where
    K: Hash + Eq + Copy + Send + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + From<Broken> + 'static,
{
    pub(super) fn new(most_bytes: u64) -> Self {
        let inner = Inner { entries: HashMap::new(), most_bytes, held_bytes: 0, uses: 0 };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The value, if it is there.
    pub(super) fn ready(&self, key: &K) -> Option<V> {
        let inner = &mut *self.lock();
        inner.uses += 1;
        match inner.entries.get_mut(key) {
            Some(Entry::Ready { value, used, .. }) => {
                *used = inner.uses;
                Some(value.clone())
            }
            _ => None,
        }
    }

    /// The value; `make` makes it on `threads`, with its size in bytes, if nobody does already.
    pub(super) fn get<F>(&self, key: K, threads: &Handle, make: impl FnOnce() -> F) -> Flight<V, E>
    where
        F: Future<Output = Result<(V, u64), E>> + Send + 'static,
    {
        let mut inner = self.lock();
        match inner.entries.get(&key) {
            Some(Entry::Making(flight)) => flight.clone(),
            Some(Entry::Ready { value, .. }) => {
                futures_util::future::ready(Ok(value.clone())).boxed().shared()
            }
            None => {
                let making = threads.spawn(make());
                let all = self.clone();
                // A task of its own, so that it comes to its end although nobody waits.
                let settled = threads.spawn(async move {
                    let made = making.await.unwrap_or_else(|_| Err(Broken.into()));
                    all.settle(key, made)
                });
                let flight = settled
                    .map(|settled| settled.unwrap_or_else(|_| Err(Broken.into())))
                    .boxed()
                    .shared();
                inner.entries.insert(key, Entry::Making(flight.clone()));
                flight
            }
        }
    }

    fn settle(&self, key: K, made: Result<(V, u64), E>) -> Result<V, E> {
        let inner = &mut *self.lock();
        inner.entries.remove(&key);
        let (value, bytes) = made?;
        inner.uses += 1;
        inner.make_room(bytes);
        inner.held_bytes += bytes;
        let entry = Entry::Ready { value: value.clone(), bytes, used: inner.uses };
        inner.entries.insert(key, entry);
        Ok(value)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V, E>> {
        // Nothing in between can panic and leave it torn.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Copy, V, E> Inner<K, V, E> {
    /// Drops values until `bytes` more fit, or nothing is left to drop: a value that is larger than
    /// the bound is kept alone.
    fn make_room(&mut self, bytes: u64) {
        while self.held_bytes.saturating_add(bytes) > self.most_bytes {
            let ready = |(key, entry): (&K, &Entry<V, E>)| match entry {
                Entry::Ready { used, bytes, .. } => Some((*used, *key, *bytes)),
                Entry::Making(_) => None,
            };
            let oldest = self.entries.iter().filter_map(ready).min_by_key(|(used, ..)| *used);
            let Some((_, key, freed)) = oldest else { return };
            self.entries.remove(&key);
            self.held_bytes -= freed;
        }
    }
}

/// The making panicked, or its threads were stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

#[cfg(test)]
mod tests;
