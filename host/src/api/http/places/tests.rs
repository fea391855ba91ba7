use futures_util::FutureExt as _;
use jobwright_core::tenant::TenantName;

use super::*;
use crate::shares::Shares;
use crate::shares::table::REQUESTS;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[tokio::test]
async fn the_oldest_silent_connection_of_the_address_that_has_most_gives_way() {
    let places = Places::new(4);
    let other = places.take(address("2001:db8::1")).await;
    let mut silent = Vec::new();
    for last in 1..4 {
        silent.push(places.take(address(&format!("2001:db8:0:1::{last}"))).await);
    }
    silent[0].begin();
    let mut next = Box::pin(places.take(address("10.0.0.1")));
    assert!((&mut next).now_or_never().is_none(), "all are taken");
    assert!(silent[0].given_up().now_or_never().is_none(), "a request is under way");
    assert!(silent[1].given_up().now_or_never().is_some());
    for kept in [&other, &silent[2]] {
        assert!(kept.given_up().now_or_never().is_none());
    }
    silent.remove(1);
    assert!(next.now_or_never().is_some());
}

#[tokio::test]
async fn if_none_is_silent_the_oldest_that_is_read_of_the_address_that_has_most_gives_way() {
    let places = Places::new(5);
    let mut greedy = Vec::new();
    for _ in 0..3 {
        greedy.push(places.take(address("10.0.0.1")).await);
    }
    let modest = [places.take(address("10.0.0.2")).await, places.take(address("10.0.0.2")).await];
    // Those of the other address do not read either, and have not for longer.
    for place in &modest {
        place.begin();
        place.end(None);
    }
    for place in &greedy {
        place.begin();
    }
    for place in &greedy[1..] {
        place.end(None);
    }
    let mut next = Box::pin(places.take(address("10.0.0.3")));
    assert!((&mut next).now_or_never().is_none(), "all are taken");
    assert!(greedy[1].given_up().now_or_never().is_some());
    for kept in [&greedy[0], &greedy[2], &modest[0], &modest[1]] {
        assert!(kept.given_up().now_or_never().is_none());
    }
    greedy.remove(1);
    assert!(next.now_or_never().is_some());
    drop((greedy, modest));
    assert!(places.lock().all.is_empty() && places.lock().writing.is_empty());
}

#[tokio::test]
async fn a_connection_is_silent_again_when_its_answer_is_written() {
    let places = Places::new(1);
    let place = places.take(address("127.0.0.1")).await;
    place.begin();
    place.flushed();
    place.end(None);
    assert!(places.lock().silent.is_empty());
    place.flushed();
    assert_eq!(places.lock().silent.len(), 1);
    drop(place);
    assert!(places.lock().silent.is_empty());
}

#[tokio::test]
async fn a_request_is_under_way_until_its_answer_is_written() {
    let requests = Shares::new(&REQUESTS);
    let share = requests.of(&TenantName::default());
    let request = || UnderWay::new(share.try_acquire(1u64).expect("there is one"));
    let place = Places::new(1).take(address("127.0.0.1")).await;
    place.begin();
    place.end(Some(request()));
    assert_eq!(requests.available(), REQUESTS.all - 1);
    place.flushed();
    assert_eq!(requests.available(), REQUESTS.all);
    place.begin();
    place.end(Some(request()));
    drop(place);
    assert_eq!(requests.available(), REQUESTS.all, "its connection has broken");
}
