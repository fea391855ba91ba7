//! Retrying a job on request.

use std::time::Duration;

use anyhow::ensure;
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_tests::{TestHost, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Answer, Fixture, get, post};

pub fn trials() -> Vec<Trial> {
    tests![
        a_discarded_job_runs_again,
        a_completed_job_runs_again_without_its_old_output,
        a_cancelled_job_runs_again,
        a_waiting_job_becomes_due,
        a_running_job_cannot_be_retried,
        retrying_a_finalized_job_needs_room,
    ]
}

async fn retry(host: &TestHost, id: &str) -> anyhow::Result<Answer> {
    post(host, &format!("/v1/jobs/{id}/retry"), "").await
}

fn failed(retry: RetryHint) -> Outcome {
    Outcome::Failed { error: AttemptError::new("x", "y"), retry }
}

async fn a_discarded_job_runs_again() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "payload": [1], "max_attempts": 1 })).await?;
    fixture.begins().await?.end(failed(RetryHint::Backoff));
    assert_eq!(fixture.host.finalized(&id).await?["state"], "discarded");
    let answer = retry(&fixture.host, &id).await?;
    let job = answer.ok(202)?;
    assert_eq!((&job["finalized_at"], &job["id"]), (&Value::Null, &json!(id)));
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    let attempt = fixture.begins().await?;
    assert_eq!(
        (attempt.attempt.job.lifecycle.attempt, &attempt.attempt.payload.bytes[..]),
        (2, &b"[1]"[..])
    );
    attempt.succeed();
    let job = fixture.host.finalized(&id).await?;
    let outcomes = [&job["attempts"][0]["outcome"], &job["attempts"][1]["outcome"]];
    assert_eq!(
        (&job["state"], outcomes),
        (&json!("completed"), [&json!("failed"), &json!("succeeded")])
    );
    Ok(())
}

async fn a_completed_job_runs_again_without_its_old_output() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "payload": [1] })).await?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(&id).await?;
    retry(&fixture.host, &id).await?.ok(202)?;
    let attempt = fixture.begins().await?;
    assert_eq!(get(&fixture.host, &format!("/v1/jobs/{id}/output")).await?.code(404)?, "no_output");
    assert_eq!(fixture.host.job(&id).await?["output_url"], Value::Null);
    attempt.end(failed(RetryHint::Never));
    let job = fixture.host.finalized(&id).await?;
    assert_eq!((&job["state"], &job["output_url"]), (&json!("discarded"), &Value::Null));
    Ok(())
}

async fn a_cancelled_job_runs_again() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "delay_ms": 1000 })).await?;
    post(&fixture.host, &format!("/v1/jobs/{id}/cancel"), "").await?.ok(200)?;
    let job = retry(&fixture.host, &id).await?.ok(202)?;
    assert_eq!(job["cancel_requested_at"], Value::Null);
    let attempt = fixture.begins().await?;
    // The earlier cancel request does not apply any more.
    ensure!(futures_util::FutureExt::now_or_never(attempt.stop.wait()).is_none());
    attempt.succeed();
    assert_eq!(fixture.host.finalized(&id).await?["state"], "completed");
    Ok(())
}

async fn a_waiting_job_becomes_due() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let scheduled = fixture.submit(json!({ "delay_ms": 3_600_000 })).await?;
    retry(&fixture.host, &scheduled).await?.ok(202)?;
    let attempt = fixture.begins().await?;
    assert_eq!(attempt.attempt.job.id.to_string(), scheduled);
    attempt.end(failed(RetryHint::After(Duration::from_secs(3600))));
    super::soon(async {
        while fixture.host.job(&scheduled).await?["state"] != "retryable" {}
        anyhow::Ok(())
    })
    .await??;
    retry(&fixture.host, &scheduled).await?.ok(202)?;
    assert_eq!(fixture.succeeds().await?.job.lifecycle.attempt, 2);
    Ok(())
}

async fn a_running_job_cannot_be_retried() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    assert_eq!(retry(&fixture.host, &id).await?.code(409)?, "already_running");
    attempt.succeed();
    assert_eq!(fixture.host.finalized(&id).await?["attempt"], 1);
    ensure!(fixture.runtime.begun().await.is_none());
    Ok(())
}

async fn retrying_a_finalized_job_needs_room() -> anyhow::Result<()> {
    let fixture = Fixture::with_capacity(1).await?;
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.succeed();
    let job = fixture.host.finalized(&id).await?;
    fixture.submit(json!({})).await?;
    let other = fixture.begins().await?;
    let answer = retry(&fixture.host, &id).await?;
    assert_eq!(answer.code(503)?, "queue_full");
    ensure!(!answer.header("retry-after").is_empty());
    assert_eq!(fixture.host.job(&id).await?, job, "the job has changed");
    let other_id = other.attempt.job.id.to_string();
    other.succeed();
    fixture.host.finalized(&other_id).await?;
    retry(&fixture.host, &id).await?.ok(202)?;
    Ok(())
}
