use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::*;

type Cache = SingleFlight<&'static str, u8, &'static str, Broken>;

fn of(owner: &'static str, key: u8) -> OwnedKey<&'static str, u8> {
    OwnedKey { owner, key }
}

fn made(value: &'static str, bytes: u64) -> Made<&'static str> {
    Made { value, bytes }
}

#[tokio::test]
async fn all_waiters_get_the_value_of_one_computation() {
    let (cache, here) = (Cache::new(10), Handle::current());
    let makings = Arc::new(AtomicUsize::new(0));
    let (go, gone) = oneshot::channel();
    let counted = makings.clone();
    let first = cache.get(of("a", 1), &here, || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        gone.await.map_err(|_| Broken)?;
        Ok(made("one", 1))
    });
    let second = cache.get(of("a", 1), &here, || async { Err(Broken) });
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
    assert_eq!(cache.get(of("a", 1), &here, || async { Err(Broken) }).await, Err(Broken));
    assert_eq!(cache.get(of("a", 1), &here, || async { panic!("on purpose") }).await, Err(Broken));
    assert_eq!(cache.get(of("a", 1), &here, || async { Ok(made("one", 1)) }).await, Ok("one"));
}

#[tokio::test]
async fn the_least_recently_used_value_is_evicted_first() {
    let (cache, here) = (Cache::new(10), Handle::current());
    for (key, text) in [(1, "one"), (2, "two")] {
        assert_eq!(
            cache.get(of("a", key), &here, || async move { Ok(made(text, 5)) }).await,
            Ok(text)
        );
    }
    assert_eq!(cache.ready(&1), Some("one"));
    assert_eq!(cache.get(of("a", 3), &here, || async { Ok(made("three", 5)) }).await, Ok("three"));
    assert_eq!([1, 2, 3].map(|key| cache.ready(&key)), [Some("one"), None, Some("three")]);
    assert_eq!(cache.get(of("a", 4), &here, || async { Ok(made("large", 50)) }).await, Ok("large"));
    assert_eq!([1, 3, 4].map(|key| cache.ready(&key)), [None, None, Some("large")]);
}

#[tokio::test]
async fn an_owner_does_not_wait_for_another_owners_computation() {
    let (cache, here) = (Cache::new(10), Handle::current());
    let (go, gone) = oneshot::channel();
    let slow = cache.get(of("a", 1), &here, || async move {
        gone.await.map_err(|_| Broken)?;
        Ok(made("late", 3))
    });
    assert_eq!(cache.get(of("b", 1), &here, || async { Ok(made("one", 2)) }).await, Ok("one"));
    assert_eq!(cache.made(&1), Some(made("one", 2)));
    go.send(()).expect("it waits");
    assert_eq!(slow.await, Ok("one"), "the one that was there first is kept, and counted once");
    assert_eq!(cache.lock().held_bytes, 2);
}
