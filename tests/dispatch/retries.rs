//! What happens to a job after each kind of outcome.

use std::num::NonZeroU32;
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

use super::Fixture;

pub fn trials() -> Vec<Trial> {
    tests![
        a_failed_job_is_retried_after_its_back_off_and_not_before,
        a_job_waits_as_its_own_back_off_says,
        a_job_retries_the_endings_that_it_names,
        an_attempt_ends_at_the_deadline_of_its_job,
        a_job_expires_while_all_workers_are_busy,
        the_last_failure_discards,
        a_permanent_failure_discards_at_once,
        a_guest_can_ask_for_a_later_retry,
        snoozes_do_not_count_as_attempts,
        a_snooze_above_the_bound_is_a_failure,
        a_fuel_limit_is_final,
        a_job_that_the_host_cannot_start_is_released_without_counting,
        a_scheduled_job_runs_at_its_time,
        an_attempt_whose_lease_was_lost_is_stopped_and_does_not_count,
        progress_and_log_are_visible_within_a_second,
        an_attempt_gets_the_checkpoint_of_the_previous_one,
    ]
}

fn failed(retry: RetryHint) -> Outcome {
    Outcome::Failed { error: AttemptError::new("exit_code", "exited with 1"), retry }
}

async fn a_failed_job_is_retried_after_its_back_off_and_not_before() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.end(failed(RetryHint::Backoff));
    let job = fixture.rests(&id).await?;
    ensure!(job.lifecycle.phase(fixture.clock.now()) == Phase::Retryable, "{job:?}");
    // The first back-off is 6 s, give or take a fifth.
    fixture.clock.advance(Duration::from_secs(4));
    ensure!(fixture.runtime.begun().await.is_none(), "began before its time");
    fixture.clock.advance(Duration::from_secs(4));
    let again = fixture.begins().await?;
    ensure!(again.attempt.job.lifecycle.attempt == 2);
    again.succeed();
    let job = fixture.host.finalized(&id).await?;
    let outcomes = [&job["attempts"][0]["outcome"], &job["attempts"][1]["outcome"]];
    ensure!(outcomes == ["failed", "succeeded"], "{job}");
    Ok(())
}

async fn a_job_waits_as_its_own_back_off_says() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let waits = [1_000_u64, 90_000];
    let backoff = json!({ "kind": "list", "waits_ms": waits, "jitter_percent": 0 });
    let id = fixture.submit(json!({ "max_attempts": 4, "backoff": backoff })).await?;
    for wait in [waits[0], waits[1], waits[1]].map(Duration::from_millis) {
        fixture.begins().await?.end(failed(RetryHint::Backoff));
        let due = fixture.rests(&id).await?.lifecycle.scheduled_at;
        ensure!(jobwright_core::clock::until(fixture.clock.now(), due) == wait, "{due}");
        fixture.clock.advance(wait);
    }
    fixture.begins().await?.succeed();
    ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Completed);
    Ok(())
}

async fn a_job_retries_the_endings_that_it_names() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let ended = |limit| {
        let error = AttemptError::new("limit", "used 5 of 5");
        Outcome::LimitExceeded { limit, error }
    };
    let id = fixture.submit(json!({ "retry_on": ["fuel"] })).await?;
    fixture.begins().await?.end(ended(Limit::Fuel));
    ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Available);
    fixture.clock.advance(Duration::from_secs(60));
    fixture.begins().await?.end(ended(Limit::Time));
    ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Discarded);
    Ok(())
}

async fn an_attempt_ends_at_the_deadline_of_its_job() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture
        .submit(json!({ "deadline_ms": 20_000, "limits": { "timeout_ms": 15_000 } }))
        .await?;
    let first = fixture.begins().await?;
    ensure!(first.attempt.limits.timeout_ms == 15_000, "{:?}", first.attempt.limits);
    fixture.clock.advance(Duration::from_secs(2));
    first.end(failed(RetryHint::After(Duration::from_secs(6))));
    fixture.rests(&id).await?;
    fixture.clock.advance(Duration::from_secs(6));
    let second = fixture.begins().await?;
    ensure!(second.attempt.limits.timeout_ms == 12_000, "{:?}", second.attempt.limits);
    fixture.clock.advance(Duration::from_secs(12));
    let error = AttemptError::new("time", "ran for 12 s");
    second.end(Outcome::LimitExceeded { limit: Limit::Time, error });
    let job = fixture.host.finalized(&id).await?;
    ensure!(job["state"] == "discarded" && job["ended_by"] == "deadline", "{job}");
    let ends = [&job["attempts"][0]["error"]["code"], &job["attempts"][1]["error"]["code"]];
    ensure!(ends == ["exit_code", "deadline"], "{job}");
    Ok(())
}

async fn a_job_expires_while_all_workers_are_busy() -> anyhow::Result<()> {
    let fixture = Fixture::new(|config| config.workers = NonZeroU32::MIN).await?;
    fixture.submit(json!({})).await?;
    let busy = fixture.begins().await?;
    let id = fixture.submit(json!({ "ttl_ms": 1000 })).await?;
    ensure!(fixture.host.job(&id).await?["state"] == "available");
    fixture.clock.advance(Duration::from_secs(10));
    let job = fixture.host.finalized(&id).await?;
    ensure!(job["state"] == "expired" && job["ended_by"] == "ttl", "{job}");
    ensure!(job["attempts"] == json!([]), "{job}");
    busy.succeed();
    ensure!(fixture.runtime.begun().await.is_none(), "it began after its time");
    Ok(())
}

async fn progress_and_log_are_visible_within_a_second() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    let running = fixture.begins().await?;
    running.attempt.report.progress(Progress::new(Some(0.5), "half of it"));
    let seen = async {
        while fixture.host.job(&id).await?["progress"]
            != json!({ "fraction": 0.5, "message": "half of it" })
        {
            fixture.clock.advance(Duration::from_secs(1));
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await??;
    running.succeed();
    Ok(())
}

async fn an_attempt_gets_the_checkpoint_of_the_previous_one() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    let first = fixture.begins().await?;
    ensure!(first.attempt.report.checkpoint().is_none());
    first.attempt.report.save("at 7".into())?;
    first.end(failed(RetryHint::Backoff));
    fixture.rests(&id).await?;
    fixture.clock.advance(Duration::from_secs(60));
    let second = fixture.begins().await?;
    ensure!(second.attempt.report.checkpoint() == Some("at 7".into()));
    second.succeed();
    Ok(())
}

async fn the_last_failure_discards() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({ "max_attempts": 2 })).await?;
    fixture.begins().await?.end(failed(RetryHint::Backoff));
    ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Available);
    fixture.clock.advance(Duration::from_secs(60));
    fixture.begins().await?.end(failed(RetryHint::Backoff));
    ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Discarded);
    Ok(())
}

async fn a_permanent_failure_discards_at_once() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.end(failed(RetryHint::Never));
    ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Discarded);
    Ok(())
}

async fn a_guest_can_ask_for_a_later_retry() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.end(failed(RetryHint::After(Duration::from_secs(100))));
    let due = fixture.rests(&id).await?.lifecycle.scheduled_at;
    let wait = jobwright_core::clock::until(fixture.clock.now(), due);
    ensure!(wait == Duration::from_secs(100), "{wait:?}");
    Ok(())
}

fn later(wait: Duration) -> Outcome {
    let error = AttemptError::new("http_status", "answered 429 Too Many Requests");
    Outcome::Snoozed { error, wait: Some(wait) }
}

async fn snoozes_do_not_count_as_attempts() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({ "max_attempts": 1 })).await?;
    for attempt in 1..=7_u32 {
        fixture.begins().await?.end(later(Duration::from_secs(1)));
        let job = fixture.rests(&id).await?;
        ensure!(job.lifecycle.phase(fixture.clock.now()) == Phase::Scheduled, "{job:?}");
        ensure!((job.lifecycle.attempt, job.lifecycle.failures) == (attempt, 0), "{job:?}");
        fixture.clock.advance(Duration::from_secs(1));
    }
    fixture.begins().await?.succeed();
    let job = fixture.host.finalized(&id).await?;
    ensure!(job["state"] == "completed" && job["attempts"][6]["outcome"] == "snoozed", "{job}");
    Ok(())
}

async fn a_snooze_above_the_bound_is_a_failure() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({ "max_attempts": 1 })).await?;
    for _ in 0..MAX_SNOOZES {
        fixture.begins().await?.end(later(Duration::from_secs(1)));
        fixture.rests(&id).await?;
        fixture.clock.advance(Duration::from_secs(1));
    }
    fixture.begins().await?.end(later(Duration::from_secs(1)));
    let job = fixture.host.finalized(&id).await?;
    ensure!(job["state"] == "discarded" && job["failures"] == 1, "{job}");
    let last = job["attempts"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    let message = last["error"]["message"].as_str().unwrap_or_default();
    ensure!(last["outcome"] == "failed" && message.contains("counts as a failure"), "{last}");
    Ok(())
}

async fn a_fuel_limit_is_final() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    let error = AttemptError::new("fuel", "used 5 of 5");
    fixture.begins().await?.end(Outcome::LimitExceeded { limit: Limit::Fuel, error });
    ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Discarded);
    Ok(())
}

async fn a_job_that_the_host_cannot_start_is_released_without_counting() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({ "max_attempts": 1 })).await?;
    let error = AttemptError::new("io", "cannot read the plugin");
    fixture.begins().await?.end(Outcome::Refused { error, transient: true });
    let job = fixture.rests(&id).await?;
    ensure!((job.lifecycle.failures, job.lifecycle.refused) == (0, 1), "{job:?}");
    fixture.clock.advance(Duration::from_secs(60));
    fixture.begins().await?.succeed();
    ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Completed);
    Ok(())
}

async fn a_scheduled_job_runs_at_its_time() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({ "delay_ms": 5000 })).await?;
    ensure!(fixture.host.job(&id).await?["state"] == "scheduled");
    fixture.clock.advance(Duration::from_secs(4));
    ensure!(fixture.runtime.begun().await.is_none(), "began before its time");
    fixture.clock.advance(Duration::from_secs(1));
    fixture.begins().await?.succeed();
    ensure!(fixture.rests(&id).await?.lifecycle.state == JobState::Completed);
    Ok(())
}

async fn an_attempt_whose_lease_was_lost_is_stopped_and_does_not_count() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    let stalled = fixture.begins().await?;
    // As another host does if it believes that this one is dead.
    let late = fixture.clock.now() + Duration::from_secs(31);
    ensure!(fixture.store.reclaim_expired(late, 10).await?.len() == 1);
    // The next heartbeat finds that the lease is lost.
    fixture.clock.advance(Duration::from_secs(10));
    ensure!(stalled.stop.wait().await == StopReason::Interrupted);
    let again = fixture.begins().await?;
    ensure!(again.attempt.job.lifecycle.attempt == 2);
    stalled.succeed();
    again.succeed();
    let job = fixture.host.finalized(&id).await?;
    let outcomes = [&job["attempts"][0]["outcome"], &job["attempts"][1]["outcome"]];
    ensure!(outcomes == ["lost", "succeeded"], "{job}");
    Ok(())
}
