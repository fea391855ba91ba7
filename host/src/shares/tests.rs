use futures_util::FutureExt as _;

use super::table::{ALL, Resource};
use super::*;

fn tenant(name: &str) -> TenantName {
    name.parse().expect("a name")
}

fn two() -> Shares {
    Shares::new(&Resource { all: 2, weight: 1 })
}

#[test]
fn a_tenant_that_takes_all_it_can_of_a_resource_leaves_a_permit_to_the_next() {
    for (name, resource) in ALL {
        let shares = Shares::new(&resource);
        let mut held = Vec::new();
        for of in ["a", "b", "c"] {
            let share = shares.of(&tenant(of));
            let first = share.try_acquire(1u64);
            // With two permits, a third tenant has to wait.
            assert!(first.is_ok() || (of == "c" && resource.all == 2), "{of}: {name}");
            held.extend(first);
            while let Ok(more) = share.try_acquire(1u64) {
                held.push(more);
            }
        }
        drop(held);
        assert_eq!(shares.available(), resource.all, "{name}");
    }
}

#[test]
fn a_tenant_that_acquires_many_permits_at_once_leaves_some_to_others() {
    let shares = Shares::new(&Resource { all: 10, weight: 1 });
    let [a, b] = ["a", "b"].map(|name| shares.of(&tenant(name)));
    let mut first = a.try_acquire(4u64).expect("there is room");
    first.grow(3).expect("it holds less than is free");
    assert_eq!(first.grow(1), Err(Full::Tenant));
    assert_eq!(b.try_acquire(4u64).err(), Some(Full::All));
    let second = b.try_acquire(3u64).expect("it is free");
    first.shrink(1);
    assert_eq!((first.permits(), shares.available()), (1, 6));
    drop((first, second));
    assert_eq!(shares.available(), 10);
}

#[tokio::test]
async fn the_waiters_of_one_tenant_do_not_delay_another_tenant() {
    let shares = two();
    let [a, b] = ["a", "b"].map(|name| shares.of(&tenant(name)));
    let running = a.acquire().await;
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(a.acquire())).collect();
    for waiter in &mut waiting {
        assert!(waiter.now_or_never().is_none(), "the tenant has its share");
    }
    let other = b.acquire().now_or_never().expect("at once");
    let mut next = Box::pin(b.acquire());
    assert!((&mut next).now_or_never().is_none());
    drop(other);
    let other = next.now_or_never().expect("b held less than a");
    drop(running);
    let served = waiting.iter_mut().filter_map(|waiter| waiter.now_or_never()).count();
    assert_eq!(served, 100, "each releases its permit to the next");
    drop(other);
}

#[tokio::test]
async fn with_one_permit_tenants_alternate() {
    let shares = Shares::new(&Resource { all: 1, weight: 1 });
    let [a, b] = ["a", "b"].map(|name| shares.of(&tenant(name)));
    let first = a.acquire().await;
    let (mut again, mut other) = (Box::pin(a.acquire()), Box::pin(b.acquire()));
    assert!((&mut again).now_or_never().is_none() && (&mut other).now_or_never().is_none());
    drop(first);
    assert!((&mut again).now_or_never().is_none(), "a was served last");
    assert!(other.now_or_never().is_some());
    assert!(again.now_or_never().is_some(), "b has released it");
}

#[tokio::test]
async fn a_dropped_waiter_acquires_nothing_and_leaves_no_state() {
    let shares = two();
    let a = shares.of(&tenant("a"));
    let held = a.acquire().await;
    let mut waiter = Box::pin(a.acquire());
    assert!((&mut waiter).now_or_never().is_none());
    drop((waiter, held));
    assert_eq!(shares.available(), 2);
    assert!(shares.lock().holders.is_empty(), "the tenant uses no memory");
}

#[tokio::test]
async fn a_tenant_that_requests_more_than_it_can_hold_gets_as_much_as_it_can_hold() {
    let shares = Shares::new(&Resource { all: 10, weight: 1 });
    let most = shares.of(&tenant("a")).acquire_many(1_000).await;
    assert_eq!((most.permits(), shares.available()), (5, 5));
}
