use futures_util::FutureExt as _;

use super::*;

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
async fn a_connection_is_silent_again_when_its_answer_is_written() {
    let places = Places::new(1);
    let place = places.take(address("127.0.0.1")).await;
    place.begin();
    place.flushed();
    place.end();
    assert!(places.lock().by_address.is_empty());
    place.flushed();
    assert_eq!(places.lock().by_address.len(), 1);
    drop(place);
    assert!(places.lock().by_address.is_empty());
}
