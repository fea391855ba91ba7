//! Clocks that are set while a host runs, and a host that stands still.

use std::time::Duration;

use anyhow::ensure;
use jiff::SignedDuration;
use jobwright_core::clock::after;
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_core::{Clock as _, JobState};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::StatusCode;
use serde_json::json;

use super::Stage;

pub fn trials() -> Vec<Trial> {
    tests![
        a_wall_clock_that_is_set_loses_no_attempt,
        a_host_that_stood_still_loses_no_attempt,
        a_wall_clock_that_is_set_moves_no_delay_and_no_retry,
        a_job_for_a_time_starts_when_the_wall_clock_says_so,
        a_wall_clock_that_is_set_forgets_no_idempotency_key_and_no_finished_job,
        a_guest_sees_the_wall_clock,
    ]
}

/// Hours by which the wall clock is set, one after the other.
const SET: [i64; 4] = [7, -14, 30, -47];

async fn a_wall_clock_that_is_set_loses_no_attempt() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    let attempt = stage.begins().await?;
    for hours in SET {
        stage.clock.set_wall(SignedDuration::from_hours(hours));
        for _ in 0..60 {
            stage.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    }
    ensure!(attempt.stop.raised().is_none(), "it was stopped");
    attempt.succeed();
    let job = stage.host.finalized(&id).await?;
    ensure!(job["attempt"] == 1, "{job}");
    Ok(())
}

/// A laptop that was closed, a virtual machine that was paused, a process that was stopped.
async fn a_host_that_stood_still_loses_no_attempt() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    let attempt = stage.begins().await?;
    for _ in 0..3 {
        stage.clock.advance(Duration::from_secs(8 * 3600));
        // Another job goes through all that the host does.
        stage.submit(json!({})).await?;
        stage.begins().await?.succeed();
    }
    ensure!(attempt.stop.raised().is_none(), "it was stopped");
    attempt.succeed();
    let job = stage.host.finalized(&id).await?;
    ensure!(job["attempt"] == 1, "{job}");
    Ok(())
}

async fn a_wall_clock_that_is_set_moves_no_delay_and_no_retry() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    for hours in SET {
        let id = stage.submit(json!({ "delay_ms": 5000 })).await?;
        stage.clock.set_wall(SignedDuration::from_hours(hours));
        stage.clock.advance(Duration::from_secs(4));
        ensure!(stage.runtime.begun().await.is_none(), "began before its time");
        stage.clock.advance(Duration::from_secs(1));
        let error = AttemptError::new("exit_code", "exited with 1");
        stage.begins().await?.end(Outcome::Failed { error, retry: RetryHint::Backoff });
        stage.rests(&id).await?;
        stage.clock.set_wall(SignedDuration::from_hours(-hours));
        stage.clock.advance(Duration::from_secs(4));
        ensure!(stage.runtime.begun().await.is_none(), "was tried again before its time");
        stage.clock.advance(Duration::from_secs(4));
        stage.begins().await?.succeed();
        ensure!(stage.rests(&id).await?.lifecycle.state == JobState::Completed);
    }
    Ok(())
}

/// As when a time server corrects what the clock was set to at boot.
async fn a_job_for_a_time_starts_when_the_wall_clock_says_so() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let (hours, seconds) = (SignedDuration::from_hours(7), Duration::from_secs(5));
    let succeeds = async |id: String| {
        stage.begins().await?.succeed();
        ensure!(stage.rests(&id).await?.lifecycle.state == JobState::Completed);
        anyhow::Ok(())
    };
    let due = after(stage.clock.wall(), seconds).checked_add(hours)?;
    let id = stage.submit(json!({ "scheduled_at": due })).await?;
    stage.clock.set_wall(hours);
    stage.clock.advance(Duration::from_secs(4));
    ensure!(stage.runtime.begun().await.is_none(), "began before its time");
    stage.clock.advance(Duration::from_secs(1));
    succeeds(id).await?;

    let due = after(stage.clock.wall(), seconds);
    let id = stage.submit(json!({ "scheduled_at": due })).await?;
    stage.clock.set_wall(-hours);
    stage.clock.advance(Duration::from_secs(3600));
    ensure!(stage.runtime.begun().await.is_none(), "began hours before its time");
    stage.clock.advance(Duration::from_secs(6 * 3600 + 5));
    succeeds(id).await?;

    let passed = stage.clock.wall();
    succeeds(stage.submit(json!({ "scheduled_at": passed })).await?).await
}

async fn a_wall_clock_that_is_set_forgets_no_idempotency_key_and_no_finished_job()
-> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let submit = async || {
        let request = stage.host.request(reqwest::Method::POST, "/v1/jobs");
        let request = request.header("idempotency-key", "k").json(&json!({ "plugin": "p" }));
        let job: serde_json::Value = request.send().await?.json().await?;
        anyhow::Ok(job["id"].clone())
    };
    let id = submit().await?;
    stage.begins().await?.succeed();
    stage.host.finalized(id.as_str().unwrap_or_default()).await?;
    for hours in SET {
        stage.clock.set_wall(SignedDuration::from_hours(hours));
        stage.clock.advance(Duration::from_secs(61));
        ensure!(submit().await? == id, "set by {hours} h");
    }
    let found = stage.host.get(&format!("/v1/jobs/{}", id.as_str().unwrap_or_default())).await?;
    ensure!(found.status() == StatusCode::OK);
    Ok(())
}

async fn a_guest_sees_the_wall_clock() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    stage.clock.set_wall(SignedDuration::from_hours(-5));
    stage.submit(json!({})).await?;
    let attempt = stage.begins().await?;
    ensure!(attempt.attempt.start.clock == stage.clock.wall());
    Ok(())
}
