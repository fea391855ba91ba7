use futures_util::future::poll_immediate;
use tokio::time::Instant;

use super::*;

const MS: u64 = 1_000_000;

/// Waits for several moments as `wasi:io/poll` does: looks at all of them, in order, until one has come.
/// Answers which.
async fn polled(time: &Simulated, moments: &[u64]) -> Vec<usize> {
    let mut waits: Vec<_> = moments.iter().map(|at| Box::pin(time.wait_until(*at))).collect();
    poll_fn(|wake| {
        let looked = waits.iter_mut().enumerate();
        let rung: Vec<_> = looked
            .filter_map(|(n, wait)| wait.as_mut().poll(wake).is_ready().then_some(n))
            .collect();
        if rung.is_empty() { Poll::Pending } else { Poll::Ready(rung) }
    })
    .await
}

#[tokio::test]
async fn only_the_earliest_of_several_timers_has_expired() {
    for (moments, rung) in [
        (&[3 * MS, 2 * MS, 4 * MS][..], &[1][..]),
        (&[2 * MS + 1, 2 * MS], &[1]),
        (&[5 * MS, 2 * MS, 5 * MS, 2 * MS], &[1, 3]),
        (&[2, 1], &[1]),
        (&[0, 5 * MS], &[0]),
    ] {
        let time = Simulated::new(0);
        assert_eq!(polled(&time, moments).await, rung, "{moments:?}");
        assert_eq!(time.now(), moments[rung[0]], "{moments:?}");
        assert!(time.awaited().is_empty());
    }
}

#[tokio::test]
async fn a_sleep_takes_real_time() {
    let (time, start) = (Simulated::new(0), Instant::now());
    time.wait_until(20 * MS).await;
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn polling_a_timer_repeatedly_makes_it_expire() {
    let time = Simulated::new(MS);
    let mut asked = 0;
    while poll_immediate(time.wait_until(10 * MS)).await.is_none() {
        asked += 1;
    }
    assert_eq!(asked, 9);
}

#[test]
fn simulated_time_stops_at_its_maximum() {
    let time = Simulated::new(u64::MAX - 1);
    let readings = [(); 4].map(|()| time.read());
    assert_eq!(readings, [0, u64::MAX - 1, u64::MAX, u64::MAX]);
}
