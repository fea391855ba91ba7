use futures_util::FutureExt as _;
use jobwright_core::tenant::TenantName;

use super::*;
use crate::shares::Shares;
use crate::shares::table::REQUESTS;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[tokio::test]
async fn the_longest_idle_connection_of_the_address_with_most_idle_ones_is_evicted() {
    let slots = ConnectionSlots::new(4);
    let other = slots.acquire(address("2001:db8::1")).await;
    let mut idle = Vec::new();
    for last in 1..4 {
        idle.push(slots.acquire(address(&format!("2001:db8:0:1::{last}"))).await);
    }
    idle[0].begin();
    let mut next = Box::pin(slots.acquire(address("10.0.0.1")));
    assert!((&mut next).now_or_never().is_none(), "all slots are in use");
    assert!(idle[0].evicted().now_or_never().is_none(), "it handles a request");
    assert!(idle[1].evicted().now_or_never().is_some());
    for kept in [&other, &idle[2]] {
        assert!(kept.evicted().now_or_never().is_none());
    }
    idle.remove(1);
    assert!(next.now_or_never().is_some());
}

#[tokio::test]
async fn if_none_is_idle_the_longest_unread_one_of_the_address_with_most_connections_is_evicted() {
    let slots = ConnectionSlots::new(5);
    let mut greedy = Vec::new();
    for _ in 0..3 {
        greedy.push(slots.acquire(address("10.0.0.1")).await);
    }
    let modest =
        [slots.acquire(address("10.0.0.2")).await, slots.acquire(address("10.0.0.2")).await];
    // The clients of the other address do not read either, and have not for longer.
    for slot in &modest {
        slot.begin();
        slot.end(None);
    }
    for slot in &greedy {
        slot.begin();
    }
    for slot in &greedy[1..] {
        slot.end(None);
    }
    let mut next = Box::pin(slots.acquire(address("10.0.0.3")));
    assert!((&mut next).now_or_never().is_none(), "all slots are in use");
    assert!(greedy[1].evicted().now_or_never().is_some());
    for kept in [&greedy[0], &greedy[2], &modest[0], &modest[1]] {
        assert!(kept.evicted().now_or_never().is_none());
    }
    greedy.remove(1);
    assert!(next.now_or_never().is_some());
    drop((greedy, modest));
    assert!(slots.lock().counts.is_empty() && slots.lock().writing.is_empty());
}

#[tokio::test]
async fn a_connection_is_idle_again_when_its_response_is_written() {
    let slots = ConnectionSlots::new(1);
    let slot = slots.acquire(address("127.0.0.1")).await;
    slot.begin();
    slot.flushed();
    slot.end(None);
    assert!(slots.lock().idle.is_empty());
    slot.flushed();
    assert_eq!(slots.lock().idle.len(), 1);
    drop(slot);
    assert!(slots.lock().idle.is_empty());
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_response_is_written() {
    let requests = Shares::new(&REQUESTS);
    let share = requests.of(&TenantName::default());
    let request = || RequestPermit::new(share.try_acquire(1u64).expect("one is available"));
    let slot = ConnectionSlots::new(1).acquire(address("127.0.0.1")).await;
    slot.begin();
    slot.end(Some(request()));
    assert_eq!(requests.available(), REQUESTS.all - 1);
    slot.flushed();
    assert_eq!(requests.available(), REQUESTS.all);
    slot.begin();
    slot.end(Some(request()));
    drop(slot);
    assert_eq!(requests.available(), REQUESTS.all, "the connection was closed");
}
