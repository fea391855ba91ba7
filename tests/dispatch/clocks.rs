//! Clocks that are set while a host runs, and a host that stands still.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use jiff::SignedDuration;
use jobwright::store::memory::MemoryStore;
use jobwright_core::JobState;
use jobwright_core::clock::{Clock, HostTime, Timestamp, after, until};
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_tests::{ScriptedRuntime, TestClock, TestHost, tests};
use libtest_mimic::Trial;
use reqwest::StatusCode;
use serde_json::json;

use super::Fixture;

pub fn trials() -> Vec<Trial> {
    tests![
        setting_the_wall_clock_loses_no_attempt,
        a_suspended_host_loses_no_attempt,
        a_host_suspended_between_any_two_clock_reads_loses_no_attempt,
        a_wall_clock_off_by_a_day_for_an_hour_removes_nothing,
        setting_the_wall_clock_changes_no_delay_and_no_retry,
        a_job_with_an_absolute_time_starts_by_the_wall_clock,
        setting_the_wall_clock_removes_no_idempotency_key_and_no_finalized_job,
        a_guest_reads_the_wall_clock,
    ]
}

/// Hours by which the wall clock is set, in this order.
const SET: [i64; 4] = [7, -14, 30, -47];

async fn setting_the_wall_clock_loses_no_attempt() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    for hours in SET {
        fixture.clock.set_wall(SignedDuration::from_hours(hours));
        for _ in 0..60 {
            fixture.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    }
    ensure!(attempt.stop.raised().is_none(), "it was stopped");
    attempt.succeed();
    let job = fixture.host.finalized(&id).await?;
    ensure!(job["attempt"] == 1, "{job}");
    Ok(())
}

/// A laptop that was closed, a virtual machine that was paused, a process that was stopped.
async fn a_suspended_host_loses_no_attempt() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    for _ in 0..3 {
        fixture.clock.advance(Duration::from_secs(8 * 3600));
        // Another job passes through the whole dispatcher.
        fixture.submit(json!({})).await?;
        fixture.begins().await?.succeed();
    }
    ensure!(attempt.stop.raised().is_none(), "it was stopped");
    attempt.succeed();
    let job = fixture.host.finalized(&id).await?;
    ensure!(job["attempt"] == 1, "{job}");
    Ok(())
}

/// A clock whose first reads each return another hour.
struct Leaping(TestClock, AtomicUsize);

#[async_trait]
impl Clock for Leaping {
    fn now(&self) -> Timestamp {
        let one_fewer = |left: usize| left.checked_sub(1);
        if self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_fewer).is_ok() {
            self.0.advance(Duration::from_secs(3600));
        }
        self.0.now()
    }

    fn wall(&self) -> Timestamp {
        self.0.wall()
    }

    async fn sleep_until(&self, at: Timestamp) {
        self.0.sleep_until(at).await;
    }
}

async fn a_host_suspended_between_any_two_clock_reads_loses_no_attempt() -> anyhow::Result<()> {
    let (runtime, hand) = (ScriptedRuntime::default(), TestClock::default());
    let clock = Arc::new(Leaping(hand.clone(), AtomicUsize::new(0)));
    let store = Arc::new(MemoryStore::new(Default::default()));
    let host = TestHost::of(store, Arc::new(runtime.clone()), clock.clone(), |_| {}).await?;
    host.push("p", "any bytes will do").await?;
    let id = host.submit(json!({ "plugin": "p" })).await?;
    let attempt = runtime.next().await?;
    clock.1.store(200, Ordering::Relaxed);
    while clock.1.load(Ordering::Relaxed) > 0 {
        hand.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    ensure!(attempt.stop.raised().is_none(), "it was stopped");
    attempt.succeed();
    let job = host.finalized(&id).await?;
    ensure!(job["attempt"] == 1, "{job}");
    Ok(())
}

/// The host's own clock, driven by real time and by a wall clock that is wrong for an hour.
async fn a_wall_clock_off_by_a_day_for_an_hour_removes_nothing() -> anyhow::Result<()> {
    struct Driven(TestClock, Mutex<HostTime>);
    #[async_trait]
    impl Clock for Driven {
        fn now(&self) -> Timestamp {
            let since_boot = until(Timestamp::UNIX_EPOCH, self.0.now());
            let mut time = self.1.lock().unwrap_or_else(PoisonError::into_inner);
            time.read(since_boot, self.0.wall())
        }

        fn wall(&self) -> Timestamp {
            self.0.wall()
        }

        async fn sleep_until(&self, at: Timestamp) {
            while self.now() < at {
                self.0.sleep_until(after(self.0.now(), Duration::from_secs(1))).await;
            }
        }
    }
    let (runtime, hand) = (ScriptedRuntime::default(), TestClock::default());
    let time = HostTime::new(until(Timestamp::UNIX_EPOCH, hand.now()), hand.wall());
    let store = Arc::new(MemoryStore::new(Default::default()));
    let clock = Arc::new(Driven(hand.clone(), Mutex::new(time)));
    let host = TestHost::of(store, Arc::new(runtime.clone()), clock, |_| {}).await?;
    host.push("p", "any bytes will do").await?;
    let over = host.submit(json!({ "plugin": "p" })).await?;
    runtime.next().await?.succeed();
    host.finalized(&over).await?;
    let delayed = host.submit(json!({ "plugin": "p", "delay_ms": 7_200_000 })).await?;
    for hours in [25, -25] {
        hand.set_wall(SignedDuration::from_hours(hours));
        for _ in 0..30 {
            hand.advance(Duration::from_secs(60));
            // This job passes through the whole dispatcher.
            host.submit(json!({ "plugin": "p" })).await?;
            let begun = runtime.next().await?;
            ensure!(begun.attempt.job.id.to_string() != delayed, "began an hour early");
            begun.succeed();
        }
    }
    ensure!(host.job(&over).await?["state"] == "completed");
    ensure!(host.job(&delayed).await?["state"] == "scheduled");
    Ok(())
}

async fn setting_the_wall_clock_changes_no_delay_and_no_retry() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    for hours in SET {
        let id = fixture.submit(json!({ "delay_ms": 5000 })).await?;
        fixture.clock.set_wall(SignedDuration::from_hours(hours));
        fixture.clock.advance(Duration::from_secs(4));
        ensure!(fixture.runtime.begun().await.is_none(), "began before its time");
        fixture.clock.advance(Duration::from_secs(1));
        let error = AttemptError::new("exit_code", "exited with 1");
        fixture.begins().await?.end(Outcome::Failed { error, retry: RetryHint::Backoff });
        fixture.rests(&id).await?;
        fixture.clock.set_wall(SignedDuration::from_hours(-hours));
        fixture.clock.advance(Duration::from_secs(4));
        ensure!(fixture.runtime.begun().await.is_none(), "was tried again before its time");
        fixture.clock.advance(Duration::from_secs(4));
        fixture.begins().await?.succeed();
        ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Completed);
    }
    Ok(())
}

/// As when a time server corrects what the clock was set to at boot.
async fn a_job_with_an_absolute_time_starts_by_the_wall_clock() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let (hours, seconds) = (SignedDuration::from_hours(7), Duration::from_secs(5));
    let succeeds = async |id: String| {
        fixture.begins().await?.succeed();
        ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Completed);
        anyhow::Ok(())
    };
    let due = after(fixture.clock.wall(), seconds).checked_add(hours)?;
    let id = fixture.submit(json!({ "scheduled_at": due })).await?;
    fixture.clock.set_wall(hours);
    fixture.clock.advance(Duration::from_secs(4));
    ensure!(fixture.runtime.begun().await.is_none(), "began before its time");
    fixture.clock.advance(Duration::from_secs(1));
    succeeds(id).await?;

    let due = after(fixture.clock.wall(), seconds);
    let id = fixture.submit(json!({ "scheduled_at": due })).await?;
    fixture.clock.set_wall(-hours);
    fixture.clock.advance(Duration::from_secs(3600));
    ensure!(fixture.runtime.begun().await.is_none(), "began hours before its time");
    fixture.clock.advance(Duration::from_secs(6 * 3600 + 5));
    succeeds(id).await?;

    let passed = fixture.clock.wall();
    succeeds(fixture.submit(json!({ "scheduled_at": passed })).await?).await
}

async fn setting_the_wall_clock_removes_no_idempotency_key_and_no_finalized_job()
-> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let submit = async || {
        let request = fixture.host.request(reqwest::Method::POST, "/v1/jobs");
        let request = request.header("idempotency-key", "k").json(&json!({ "plugin": "p" }));
        let job: serde_json::Value = request.send().await?.json().await?;
        anyhow::Ok(job["id"].clone())
    };
    let id = submit().await?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(id.as_str().unwrap_or_default()).await?;
    for hours in SET {
        fixture.clock.set_wall(SignedDuration::from_hours(hours));
        fixture.clock.advance(Duration::from_secs(61));
        ensure!(submit().await? == id, "set by {hours} h");
    }
    let found = fixture.host.get(&format!("/v1/jobs/{}", id.as_str().unwrap_or_default())).await?;
    ensure!(found.status() == StatusCode::OK);
    Ok(())
}

async fn a_guest_reads_the_wall_clock() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    fixture.clock.set_wall(SignedDuration::from_hours(-5));
    fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    ensure!(attempt.attempt.start.clock == fixture.clock.wall());
    Ok(())
}
