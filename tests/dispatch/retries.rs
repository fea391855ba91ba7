//! What follows each ending.

use std::time::Duration;

use anyhow::ensure;
use jobwright_core::job::{JobState, Phase};
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_core::report::Progress;
use jobwright_core::retry::MAX_SNOOZES;
use jobwright_core::runtime::StopReason;
use jobwright_core::{Clock as _, JobStore as _, Limit};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;

use super::Stage;

pub fn trials() -> Vec<Trial> {
    tests![
        a_failed_attempt_is_made_again_at_its_time_and_not_before,
        the_last_failure_discards,
        a_permanent_failure_discards_at_once,
        a_guest_can_ask_for_a_later_retry,
        a_job_whose_guest_asks_for_later_is_tried_more_often_than_it_may_fail,
        a_snooze_too_many_is_a_failure,
        a_fuel_limit_is_final,
        a_job_that_the_host_cannot_start_is_released_without_burning_an_attempt,
        a_scheduled_job_runs_at_its_time,
        an_attempt_whose_lease_was_lost_is_stopped_and_does_not_count,
        what_an_attempt_tells_is_seen_within_a_second,
        an_attempt_goes_on_from_the_checkpoint_of_the_one_before,
    ]
}

fn failed(retry: RetryHint) -> Outcome {
    Outcome::Failed { error: AttemptError::new("exit_code", "exited with 1"), retry }
}

async fn a_failed_attempt_is_made_again_at_its_time_and_not_before() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    stage.begins().await?.end(failed(RetryHint::Backoff));
    let job = stage.rests(&id).await?;
    ensure!(job.lifecycle.phase(stage.clock.now()) == Phase::Retryable, "{job:?}");
    // The first back-off is 6 s, give or take a fifth.
    stage.clock.advance(Duration::from_secs(4));
    ensure!(stage.runtime.begun().await.is_none(), "began before its time");
    stage.clock.advance(Duration::from_secs(4));
    let again = stage.begins().await?;
    ensure!(again.attempt.job.lifecycle.attempt == 2);
    again.succeed();
    let job = stage.host.finalized(&id).await?;
    let outcomes = [&job["attempts"][0]["outcome"], &job["attempts"][1]["outcome"]];
    ensure!(outcomes == ["failed", "succeeded"], "{job}");
    Ok(())
}

async fn what_an_attempt_tells_is_seen_within_a_second() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    let running = stage.begins().await?;
    running.attempt.report.progress(Progress::new(Some(0.5), "half of it"));
    let seen = async {
        while stage.host.job(&id).await?["progress"]
            != json!({ "fraction": 0.5, "message": "half of it" })
        {
            stage.clock.advance(Duration::from_secs(1));
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await??;
    running.succeed();
    Ok(())
}

async fn an_attempt_goes_on_from_the_checkpoint_of_the_one_before() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    let first = stage.begins().await?;
    ensure!(first.attempt.report.checkpoint().is_none());
    first.attempt.report.save("at 7".into())?;
    first.end(failed(RetryHint::Backoff));
    stage.rests(&id).await?;
    stage.clock.advance(Duration::from_secs(60));
    let second = stage.begins().await?;
    ensure!(second.attempt.report.checkpoint() == Some("at 7".into()));
    second.succeed();
    Ok(())
}

async fn the_last_failure_discards() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({ "max_attempts": 2 })).await?;
    stage.begins().await?.end(failed(RetryHint::Backoff));
    ensure!(stage.rests(&id).await?.lifecycle.state == JobState::Available);
    stage.clock.advance(Duration::from_secs(60));
    stage.begins().await?.end(failed(RetryHint::Backoff));
    ensure!(stage.rests(&id).await?.lifecycle.state == JobState::Discarded);
    Ok(())
}

async fn a_permanent_failure_discards_at_once() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    stage.begins().await?.end(failed(RetryHint::Never));
    ensure!(stage.rests(&id).await?.lifecycle.state == JobState::Discarded);
    Ok(())
}

async fn a_guest_can_ask_for_a_later_retry() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    stage.begins().await?.end(failed(RetryHint::After(Duration::from_secs(100))));
    let due = stage.rests(&id).await?.lifecycle.scheduled_at;
    let wait = jobwright_core::clock::until(stage.clock.now(), due);
    ensure!(wait == Duration::from_secs(100), "{wait:?}");
    Ok(())
}

fn later(wait: Duration) -> Outcome {
    let error = AttemptError::new("http_status", "answered 429 Too Many Requests");
    Outcome::Snoozed { error, wait: Some(wait) }
}

async fn a_job_whose_guest_asks_for_later_is_tried_more_often_than_it_may_fail()
-> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({ "max_attempts": 1 })).await?;
    for attempt in 1..=7_u32 {
        stage.begins().await?.end(later(Duration::from_secs(1)));
        let job = stage.rests(&id).await?;
        ensure!(job.lifecycle.phase(stage.clock.now()) == Phase::Scheduled, "{job:?}");
        ensure!((job.lifecycle.attempt, job.lifecycle.failures) == (attempt, 0), "{job:?}");
        stage.clock.advance(Duration::from_secs(1));
    }
    stage.begins().await?.succeed();
    let job = stage.host.finalized(&id).await?;
    ensure!(job["state"] == "completed" && job["attempts"][6]["outcome"] == "snoozed", "{job}");
    Ok(())
}

async fn a_snooze_too_many_is_a_failure() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({ "max_attempts": 1 })).await?;
    for _ in 0..MAX_SNOOZES {
        stage.begins().await?.end(later(Duration::from_secs(1)));
        stage.rests(&id).await?;
        stage.clock.advance(Duration::from_secs(1));
    }
    stage.begins().await?.end(later(Duration::from_secs(1)));
    let job = stage.host.finalized(&id).await?;
    ensure!(job["state"] == "discarded" && job["failures"] == 1, "{job}");
    let last = job["attempts"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    let message = last["error"]["message"].as_str().unwrap_or_default();
    ensure!(last["outcome"] == "failed" && message.contains("counts as a failure"), "{last}");
    Ok(())
}

async fn a_fuel_limit_is_final() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    let error = AttemptError::new("fuel", "used 5 of 5");
    stage.begins().await?.end(Outcome::LimitExceeded { limit: Limit::Fuel, error });
    ensure!(stage.rests(&id).await?.lifecycle.state == JobState::Discarded);
    Ok(())
}

async fn a_job_that_the_host_cannot_start_is_released_without_burning_an_attempt()
-> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({ "max_attempts": 1 })).await?;
    let error = AttemptError::new("io", "cannot read the plugin");
    stage.begins().await?.end(Outcome::Refused { error, transient: true });
    let job = stage.rests(&id).await?;
    ensure!((job.lifecycle.failures, job.lifecycle.refused) == (0, 1), "{job:?}");
    stage.clock.advance(Duration::from_secs(60));
    stage.begins().await?.succeed();
    ensure!(stage.rests(&id).await?.lifecycle.state == JobState::Completed);
    Ok(())
}

async fn a_scheduled_job_runs_at_its_time() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({ "delay_ms": 5000 })).await?;
    ensure!(stage.host.job(&id).await?["state"] == "scheduled");
    stage.clock.advance(Duration::from_secs(4));
    ensure!(stage.runtime.begun().await.is_none(), "began before its time");
    stage.clock.advance(Duration::from_secs(1));
    stage.begins().await?.succeed();
    ensure!(stage.rests(&id).await?.lifecycle.state == JobState::Completed);
    Ok(())
}

async fn an_attempt_whose_lease_was_lost_is_stopped_and_does_not_count() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    let mut stalled = stage.begins().await?;
    // As another host would that believes this one dead.
    let late = stage.clock.now() + Duration::from_secs(31);
    ensure!(stage.store.reclaim_expired(late, 10).await?.len() == 1);
    // The next heartbeat learns of it.
    stage.clock.advance(Duration::from_secs(10));
    ensure!(stalled.stop.wait().await == StopReason::Interrupted);
    let again = stage.begins().await?;
    ensure!(again.attempt.job.lifecycle.attempt == 2);
    stalled.succeed();
    again.succeed();
    let job = stage.host.finalized(&id).await?;
    let outcomes = [&job["attempts"][0]["outcome"], &job["attempts"][1]["outcome"]];
    ensure!(outcomes == ["lost", "succeeded"], "{job}");
    Ok(())
}
