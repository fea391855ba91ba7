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
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    type Cache = Flights<u8, &'static str, Broken>;

    #[tokio::test]
    async fn all_who_wait_get_the_value_of_one_making() {
        let (cache, here) = (Cache::new(10), Handle::current());
        let makings = Arc::new(AtomicUsize::new(0));
        let (go, gone) = oneshot::channel();
        let counted = makings.clone();
        let first = cache.get(1, &here, || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            gone.await.map_err(|_| Broken)?;
            Ok(("one", 1))
        });
        let second = cache.get(1, &here, || async { Err(Broken) });
        assert_eq!(cache.ready(&1), None);
        drop(first);
        go.send(()).expect("it waits");
        assert_eq!(second.await, Ok("one"));
        assert_eq!(cache.ready(&1), Some("one"));
        assert_eq!(makings.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn neither_failures_nor_panics_are_kept() {
        let (cache, here) = (Cache::new(10), Handle::current());
        assert_eq!(cache.get(1, &here, || async { Err(Broken) }).await, Err(Broken));
        assert_eq!(cache.get(1, &here, || async { panic!("on purpose") }).await, Err(Broken));
        assert_eq!(cache.get(1, &here, || async { Ok(("one", 1)) }).await, Ok("one"));
    }

    #[tokio::test]
    async fn what_was_not_used_for_longest_makes_room() {
        let (cache, here) = (Cache::new(10), Handle::current());
        for (key, text) in [(1, "one"), (2, "two")] {
            assert_eq!(cache.get(key, &here, || async move { Ok((text, 5)) }).await, Ok(text));
        }
        assert_eq!(cache.ready(&1), Some("one"));
        assert_eq!(cache.get(3, &here, || async { Ok(("three", 5)) }).await, Ok("three"));
        assert_eq!([1, 2, 3].map(|key| cache.ready(&key)), [Some("one"), None, Some("three")]);
        assert_eq!(cache.get(4, &here, || async { Ok(("large", 50)) }).await, Ok("large"));
        assert_eq!([1, 3, 4].map(|key| cache.ready(&key)), [None, None, Some("large")]);
    }
}
