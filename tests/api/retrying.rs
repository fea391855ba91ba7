//! Running a job again on demand.

use std::time::Duration;

use anyhow::ensure;
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_tests::{TestHost, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Answer, Stage, get, post};

pub fn trials() -> Vec<Trial> {
    tests![
        a_discarded_job_runs_again,
        a_completed_job_runs_again_without_its_old_output,
        a_cancelled_job_runs_again,
        a_waiting_job_becomes_due,
        a_running_job_is_left_alone,
        a_job_that_was_over_needs_room,
    ]
}

async fn retry(host: &TestHost, id: &str) -> anyhow::Result<Answer> {
    post(host, &format!("/v1/jobs/{id}/retry"), "").await
}

fn failed(retry: RetryHint) -> Outcome {
    Outcome::Failed { error: AttemptError::new("x", "y"), retry }
}

async fn a_discarded_job_runs_again() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({ "payload": [1], "max_attempts": 1 })).await?;
    stage.begins().await?.end(failed(RetryHint::Backoff));
    assert_eq!(stage.host.finalized(&id).await?["state"], "discarded");
    let answer = retry(&stage.host, &id).await?;
    let job = answer.ok(202)?;
    assert_eq!((&job["finalized_at"], &job["id"]), (&Value::Null, &json!(id)));
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    let attempt = stage.begins().await?;
    assert_eq!(
        (attempt.attempt.job.lifecycle.attempt, &attempt.attempt.payload.bytes[..]),
        (2, &b"[1]"[..])
    );
    attempt.succeed();
    let job = stage.host.finalized(&id).await?;
    let outcomes = [&job["attempts"][0]["outcome"], &job["attempts"][1]["outcome"]];
    assert_eq!(
        (&job["state"], outcomes),
        (&json!("completed"), [&json!("failed"), &json!("succeeded")])
    );
    Ok(())
}

async fn a_completed_job_runs_again_without_its_old_output() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({ "payload": [1] })).await?;
    stage.begins().await?.succeed();
    stage.host.finalized(&id).await?;
    retry(&stage.host, &id).await?.ok(202)?;
    let attempt = stage.begins().await?;
    assert_eq!(get(&stage.host, &format!("/v1/jobs/{id}/output")).await?.code(404)?, "no_output");
    assert_eq!(stage.host.job(&id).await?["output_url"], Value::Null);
    attempt.end(failed(RetryHint::Never));
    let job = stage.host.finalized(&id).await?;
    assert_eq!((&job["state"], &job["output_url"]), (&json!("discarded"), &Value::Null));
    Ok(())
}

async fn a_cancelled_job_runs_again() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({ "delay_ms": 1000 })).await?;
    post(&stage.host, &format!("/v1/jobs/{id}/cancel"), "").await?.ok(200)?;
    let job = retry(&stage.host, &id).await?.ok(202)?;
    assert_eq!(job["cancel_requested_at"], Value::Null);
    let mut attempt = stage.begins().await?;
    // The old request to cancel is over too.
    ensure!(futures_util::FutureExt::now_or_never(attempt.stop.wait()).is_none());
    attempt.succeed();
    assert_eq!(stage.host.finalized(&id).await?["state"], "completed");
    Ok(())
}

async fn a_waiting_job_becomes_due() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let scheduled = stage.submit(json!({ "delay_ms": 3_600_000 })).await?;
    retry(&stage.host, &scheduled).await?.ok(202)?;
    let attempt = stage.begins().await?;
    assert_eq!(attempt.attempt.job.id.to_string(), scheduled);
    attempt.end(failed(RetryHint::After(Duration::from_secs(3600))));
    super::soon(async {
        while stage.host.job(&scheduled).await?["state"] != "retryable" {}
        anyhow::Ok(())
    })
    .await??;
    retry(&stage.host, &scheduled).await?.ok(202)?;
    assert_eq!(stage.succeeds().await?.job.lifecycle.attempt, 2);
    Ok(())
}

async fn a_running_job_is_left_alone() -> anyhow::Result<()> {
    let stage = Stage::new().await?;
    let id = stage.submit(json!({})).await?;
    let attempt = stage.begins().await?;
    assert_eq!(retry(&stage.host, &id).await?.code(409)?, "already_running");
    attempt.succeed();
    assert_eq!(stage.host.finalized(&id).await?["attempt"], 1);
    ensure!(stage.runtime.begun().await.is_none());
    Ok(())
}

async fn a_job_that_was_over_needs_room() -> anyhow::Result<()> {
    let stage = Stage::with_capacity(1).await?;
    let id = stage.submit(json!({})).await?;
    stage.begins().await?.succeed();
    let job = stage.host.finalized(&id).await?;
    stage.submit(json!({})).await?;
    let other = stage.begins().await?;
    let answer = retry(&stage.host, &id).await?;
    assert_eq!(answer.code(503)?, "queue_full");
    ensure!(!answer.header("retry-after").is_empty());
    assert_eq!(stage.host.job(&id).await?, job, "it is as it was");
    let other_id = other.attempt.job.id.to_string();
    other.succeed();
    stage.host.finalized(&other_id).await?;
    retry(&stage.host, &id).await?.ok(202)?;
    Ok(())
}
