//! Cancelling and interrupting, in every state of the guest.

use std::time::Duration;

use jobwright_core::attempt::Attempt;
use jobwright_core::limits::Fuel;
use jobwright_core::outcome::Outcome;
use jobwright_core::runtime::{Ended, Stop, StopReason};
use tokio::time::Instant;

use super::Bench;
use crate::runtime::fixture::{SPIN, is_measured, output, text};

super::laws![
    a_guest_that_is_not_stopped_succeeds,
    a_guest_that_spins_is_cancelled_at_once_and_its_log_is_kept,
    a_guest_that_spins_without_fuel_is_cancelled_at_once,
    a_guest_that_sleeps_is_cancelled_at_once_and_its_log_is_kept,
    a_guest_that_is_interrupted_ends_as_interrupted,
    a_guest_that_was_cancelled_before_its_start_never_runs,
];

/// Far above what stopping takes, for machines that are busy with other things.
const SOON: Duration = Duration::from_secs(2);

/// Stops the attempt when its guest has logged `here`, and checks that the log is kept.
async fn stopped(bench: &Bench, attempt: Attempt, reason: StopReason) -> anyhow::Result<Ended> {
    let (stop, signal) = Stop::new();
    let (log, runtime) = (attempt.log.clone(), bench.fixture.runtime.clone());
    let running = tokio::spawn(async move { runtime.run(attempt, signal).await });
    while log.written() == 0 {
        tokio::task::yield_now().await;
    }
    let since = Instant::now();
    stop.raise(reason);
    let ended = running.await?;
    assert!(since.elapsed() < SOON, "{:?}: {:?}", since.elapsed(), ended.usage);
    let line = bench.line("here");
    assert_eq!(text(&log), line);
    assert_eq!(ended.usage.log_bytes, line.len() as u64);
    Ok(ended)
}

async fn a_guest_that_is_not_stopped_succeeds(bench: Bench) -> anyhow::Result<()> {
    output(&bench.fixture.run(bench.telling("")?).await)?;
    Ok(())
}

async fn a_guest_that_spins_is_cancelled_at_once_and_its_log_is_kept(
    bench: Bench,
) -> anyhow::Result<()> {
    let ended = stopped(&bench, bench.telling(SPIN)?, StopReason::Cancelled).await?;
    assert_eq!(ended.outcome, Outcome::Cancelled);
    assert!(is_measured(&ended) && ended.usage.run_ms > 0.0, "{:?}", ended.usage);
    Ok(())
}

async fn a_guest_that_spins_without_fuel_is_cancelled_at_once(bench: Bench) -> anyhow::Result<()> {
    let mut attempt = bench.telling(SPIN)?;
    attempt.limits.fuel = Fuel::Unlimited;
    let ended = stopped(&bench, attempt, StopReason::Cancelled).await?;
    assert_eq!((ended.outcome, ended.usage.fuel), (Outcome::Cancelled, None));
    Ok(())
}

async fn a_guest_that_sleeps_is_cancelled_at_once_and_its_log_is_kept(
    bench: Bench,
) -> anyhow::Result<()> {
    let ended = stopped(&bench, bench.telling("(call $doze)")?, StopReason::Cancelled).await?;
    assert_eq!(ended.outcome, Outcome::Cancelled);
    assert!(is_measured(&ended), "{:?}", ended.usage);
    Ok(())
}

async fn a_guest_that_is_interrupted_ends_as_interrupted(bench: Bench) -> anyhow::Result<()> {
    let ended = stopped(&bench, bench.telling("(call $doze)")?, StopReason::Interrupted).await?;
    assert_eq!(ended.outcome, Outcome::Interrupted);
    Ok(())
}

async fn a_guest_that_was_cancelled_before_its_start_never_runs(
    bench: Bench,
) -> anyhow::Result<()> {
    let attempt = bench.telling("")?;
    let log = attempt.log.clone();
    let (stop, signal) = Stop::new();
    stop.raise(StopReason::Cancelled);
    let ended = bench.fixture.runtime.run(attempt, signal).await;
    assert_eq!((ended.outcome, log.written()), (Outcome::Cancelled, 0));
    Ok(())
}
