//! Cancelling and dropping among other guests and in long operations. That each kind of guest is cancelled
//! at once is a law of `tests/limits`.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::LogBuffer;
use jobwright_core::limits::Fuel;
use jobwright_core::outcome::Outcome;
use jobwright_core::runtime::{Stop, StopReason};
use libtest_mimic::Trial;
use tokio::time::Instant;

use super::fixture::{RuntimeFixture, SLEEP, SPIN, command, is_measured, output, small, text};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        a_guest_in_bulk_operations_is_cancelled_at_once,
        a_guest_is_cancelled_at_once_among_many_that_spin,
        a_dropped_attempt_releases_its_thread,
        a_runtime_that_is_dropped_in_async_code_stops_its_guests,
        attempts_wait_for_a_free_slot,
        sleeping_guests_do_not_hold_threads,
    ]
}

/// The bound for stopping a guest: far above the usual time, for busy machines.
const SOON: Duration = Duration::from_secs(1);

/// Returns when the guest has logged something.
async fn hear(log: &LogBuffer) {
    while log.written() == 0 {
        tokio::task::yield_now().await;
    }
}

/// Logs `here`, then runs `body`.
fn speaks_then(body: &str) -> String {
    let word = r#"(data (i32.const 100) "here")"#;
    let speak = "(call $write (i32.const 2) (i32.const 100) (i32.const 4))";
    command(word, &format!("{speak} {body}"))
}

/// Runs a guest that logs and then runs `body`, and cancels it after it has logged.
async fn is_cancelled_at_once(fixture: &RuntimeFixture, body: &str) -> anyhow::Result<()> {
    let attempt = fixture.attempt(&speaks_then(body))?;
    let (stop, signal) = Stop::new();
    let (log, runtime) = (attempt.log.clone(), fixture.runtime.clone());
    let running = tokio::spawn(async move { runtime.run(attempt, signal).await });
    hear(&log).await;
    let since = Instant::now();
    stop.raise(StopReason::Cancelled);
    let (ended, took) = (running.await?, since.elapsed());
    println!("cancelled in {took:?}: {:?}", ended.usage);
    assert_eq!(ended.outcome, Outcome::Cancelled);
    assert!(took < SOON, "{took:?}");
    assert_eq!(text(&log), "here");
    Ok(())
}

async fn a_guest_in_bulk_operations_is_cancelled_at_once() -> anyhow::Result<()> {
    let body = "(drop (memory.grow (i32.const 512)))
        (loop $again
            (memory.fill (i32.const 1024) (i32.const 7) (i32.const 0x2000000))
            (br $again))";
    is_cancelled_at_once(&RuntimeFixture::new()?, body).await
}

async fn a_guest_is_cancelled_at_once_among_many_that_spin() -> anyhow::Result<()> {
    let fixture =
        RuntimeFixture::with(jobwright::runtime::RuntimeConfig { guest_threads: 1, ..small() })?;
    let (all, signal) = Stop::new();
    let mut spinning = vec![];
    for _ in 0..6 {
        let attempt = fixture.attempt(&speaks_then(SPIN))?;
        let (runtime, signal, log) = (fixture.runtime.clone(), signal.clone(), attempt.log.clone());
        spinning.push(tokio::spawn(async move { runtime.run(attempt, signal).await }));
        hear(&log).await;
    }
    is_cancelled_at_once(&fixture, SPIN).await?;
    is_cancelled_at_once(&fixture, SLEEP).await?;
    all.raise(StopReason::Interrupted);
    for guest in spinning {
        let ended = guest.await?;
        assert_eq!(ended.outcome, Outcome::Interrupted);
        assert!(is_measured(&ended), "each guest ran for a while: {:?}", ended.usage);
    }
    Ok(())
}

async fn a_dropped_attempt_releases_its_thread() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::with(jobwright::runtime::RuntimeConfig {
        guest_threads: 1,
        slots: 1,
        ..small()
    })?;
    // More attempts than slots, so that each must be gone before the next can run.
    for _ in 0..20 {
        let attempt = fixture.attempt(&speaks_then(SPIN))?;
        let log = attempt.log.clone();
        let (_stop, signal) = Stop::new();
        tokio::select! {
            ended = fixture.runtime.run(attempt, signal) => anyhow::bail!("the attempt ended: {ended:?}"),
            () = hear(&log) => {}
        }
    }
    output(&fixture.try_with(&speaks_then(""), |_| {}).await?)?;
    Ok(())
}

async fn a_runtime_that_is_dropped_in_async_code_stops_its_guests() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let attempt = fixture.attempt(&speaks_then(SPIN))?;
    let log = attempt.log.clone();
    // Owned by the guest alone after the runtime is dropped.
    let held = Arc::downgrade(&log);
    let (_stop, signal) = Stop::new();
    tokio::select! {
        ended = fixture.runtime.run(attempt, signal) => anyhow::bail!("the attempt ended: {ended:?}"),
        () = hear(&log) => {}
    }
    drop((fixture, log));
    while held.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn attempts_wait_for_a_free_slot() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::with(jobwright::runtime::RuntimeConfig { slots: 2, ..small() })?;
    let guest = command(
        "(memory 1) (memory 1) (memory 1) (table 1 funcref)",
        "(local $n i32)
        (loop $again
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 3000000))))
        (call $write (i32.const 1) (i32.const 0) (i32.const 4))",
    );
    let mut all = vec![];
    for n in 0..100 {
        let mut attempt = fixture.attempt(&guest)?;
        if n % 2 == 1 {
            attempt.limits.fuel = Fuel::Unlimited;
        }
        let runtime = fixture.runtime.clone();
        all.push(tokio::spawn(async move {
            let (_stop, signal) = Stop::new();
            runtime.run(attempt, signal).await
        }));
    }
    for attempt in all {
        assert_eq!(output(&attempt.await?)?.len(), 4);
    }
    Ok(())
}

async fn sleeping_guests_do_not_hold_threads() -> anyhow::Result<()> {
    let fixture =
        RuntimeFixture::with(jobwright::runtime::RuntimeConfig { guest_threads: 1, ..small() })?;
    let (stop, signal) = Stop::new();
    let mut sleeping = vec![];
    for _ in 0..7 {
        let attempt = fixture.attempt(&speaks_then(SLEEP))?;
        let (runtime, signal, log) = (fixture.runtime.clone(), signal.clone(), attempt.log.clone());
        sleeping.push(tokio::spawn(async move { runtime.run(attempt, signal).await }));
        hear(&log).await;
    }
    output(&fixture.try_with(&speaks_then(""), |_| {}).await?)?;
    stop.raise(StopReason::Cancelled);
    for guest in sleeping {
        assert_eq!(guest.await?.outcome, Outcome::Cancelled);
    }
    Ok(())
}
