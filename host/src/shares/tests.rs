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
fn of_every_resource_a_tenant_that_takes_all_it_can_leaves_one_to_the_next() {
    for (name, resource) in ALL {
        let shares = Shares::new(&resource);
        let mut held = Vec::new();
        for of in ["a", "b", "c"] {
            let share = shares.of(&tenant(of));
            let first = share.try_acquire(1u64);
            // With two permits there is none for a third tenant, which waits for its turn.
            assert!(first.is_ok() || (of == "c" && resource.all == 2), "{of}: {name}");
            held.extend(first);
            while let Ok(more) = share.try_acquire(1u64) {
                held.push(more);
            }
        }
        drop(held);
        assert_eq!(shares.left(), resource.all, "{name}");
    }
}

#[test]
fn many_pieces_at_once_leave_others_some_too() {
    let shares = Shares::new(&Resource { all: 10, weight: 1 });
    let [a, b] = ["a", "b"].map(|name| shares.of(&tenant(name)));
    let mut first = a.try_acquire(4u64).expect("there is room");
    first.grow(3).expect("it holds less than is free");
    assert_eq!(first.grow(1), Err(Full::Tenant));
    assert_eq!(b.try_acquire(4u64).err(), Some(Full::All));
    let second = b.try_acquire(3u64).expect("it is free");
    first.shrink(1);
    assert_eq!((first.permits(), shares.left()), (1, 6));
    drop((first, second));
    assert_eq!(shares.left(), 10);
}

#[tokio::test]
async fn one_of_many_waiters_of_a_tenant_does_not_stand_before_another_tenant() {
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
    assert_eq!(served, 100, "each gives its turn to the next");
    drop(other);
}

#[tokio::test]
async fn with_one_piece_tenants_take_turns() {
    let shares = Shares::new(&Resource { all: 1, weight: 1 });
    let [a, b] = ["a", "b"].map(|name| shares.of(&tenant(name)));
    let first = a.acquire().await;
    let (mut again, mut other) = (Box::pin(a.acquire()), Box::pin(b.acquire()));
    assert!((&mut again).now_or_never().is_none() && (&mut other).now_or_never().is_none());
    drop(first);
    assert!((&mut again).now_or_never().is_none(), "a was served last");
    assert!(other.now_or_never().is_some());
    assert!(again.now_or_never().is_some(), "b has given it back");
}

#[tokio::test]
async fn a_waiter_that_goes_away_takes_nothing_and_leaves_nothing() {
    let shares = two();
    let a = shares.of(&tenant("a"));
    let held = a.acquire().await;
    let mut waiter = Box::pin(a.acquire());
    assert!((&mut waiter).now_or_never().is_none());
    drop((waiter, held));
    assert_eq!(shares.left(), 2);
    assert!(shares.lock().holders.is_empty(), "it is forgotten");
}

#[tokio::test]
async fn more_than_one_tenant_can_have_is_as_much_as_it_can_have() {
    let shares = Shares::new(&Resource { all: 10, weight: 1 });
    let much = shares.of(&tenant("a")).acquire_many(1_000).await;
    assert_eq!((much.permits(), shares.left()), (5, 5));
}
