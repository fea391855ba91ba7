//! Who may run, and who has to stop.

use std::num::NonZeroU32;

use anyhow::ensure;
use jobwright_core::runtime::StopReason;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::StatusCode;
use serde_json::json;

use super::Stage;

pub fn trials() -> Vec<Trial> {
    tests![
        no_more_attempts_run_than_there_are_slots,
        no_more_memory_is_promised_than_there_is,
        what_an_attempt_may_leave_counts_as_its_memory,
        a_cancelled_attempt_is_told_to_stop,
        a_paused_queue_begins_nothing,
    ]
}

async fn no_more_attempts_run_than_there_are_slots() -> anyhow::Result<()> {
    let slots = NonZeroU32::new(2).unwrap_or(NonZeroU32::MIN);
    let stage = Stage::new(|config| config.workers = slots).await?;
    for _ in 0..3 {
        stage.submit(json!({})).await?;
    }
    let (first, _second) = (stage.begins().await?, stage.begins().await?);
    let counts = stage.host.get("/v1/queues/default").await?.json::<serde_json::Value>().await?;
    ensure!((&counts["running"], &counts["depth"]) == (&json!(2), &json!(1)), "{counts}");
    ensure!(stage.runtime.begun().await.is_none(), "a third began");
    first.succeed();
    stage.begins().await?;
    Ok(())
}

async fn no_more_memory_is_promised_than_there_is() -> anyhow::Result<()> {
    let stage = Stage::new(|config| {
        config.memory_budget_bytes = Some(100 << 20);
        config.ceilings.memory_bytes = Some(100 << 20);
    })
    .await?;
    let job = json!({ "limits": { "memory_bytes": 60 << 20 } });
    stage.submit(job.clone()).await?;
    stage.submit(job).await?;
    let first = stage.begins().await?;
    let counts = stage.host.get("/v1/queues/default").await?.json::<serde_json::Value>().await?;
    ensure!((&counts["running"], &counts["depth"]) == (&json!(1), &json!(1)), "{counts}");
    ensure!(stage.runtime.begun().await.is_none(), "more memory was promised than there is");
    first.succeed();
    stage.begins().await?;
    Ok(())
}

/// The host holds it until it is written.
async fn what_an_attempt_may_leave_counts_as_its_memory() -> anyhow::Result<()> {
    let stage = Stage::new(|config| {
        config.memory_budget_bytes = Some(20 << 20);
        config.ceilings.memory_bytes = Some(20 << 20);
    })
    .await?;
    let limits =
        |output_bytes: u64| json!({ "memory_bytes": 1 << 20, "output_bytes": output_bytes });
    for output_bytes in [10 << 20, 1 << 20, 10 << 20] {
        stage.submit(json!({ "limits": limits(output_bytes) })).await?;
    }
    let (first, _small) = (stage.begins().await?, stage.begins().await?);
    ensure!(stage.runtime.begun().await.is_none(), "more memory was promised than there is");
    first.succeed();
    stage.begins().await?;
    Ok(())
}

async fn a_cancelled_attempt_is_told_to_stop() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    let id = stage.submit(json!({})).await?;
    let mut attempt = stage.begins().await?;
    let answer = stage.host.post(&format!("/v1/jobs/{id}/cancel"), json!(null)).await?;
    ensure!(answer.status() == StatusCode::ACCEPTED);
    ensure!(attempt.stop.wait().await == StopReason::Cancelled);
    ensure!(stage.host.finalized(&id).await?["state"] == "cancelled");
    Ok(())
}

async fn a_paused_queue_begins_nothing() -> anyhow::Result<()> {
    let stage = Stage::new(|_| {}).await?;
    stage.host.post("/v1/queues/slow/pause", json!(null)).await?.error_for_status()?;
    stage.submit(json!({ "queue": "slow" })).await?;
    stage.submit(json!({})).await?;
    let first = stage.begins().await?;
    ensure!(first.attempt.job.spec.queue.as_str() == "default");
    ensure!(stage.runtime.begun().await.is_none(), "a paused job began");
    stage.host.post("/v1/queues/slow/resume", json!(null)).await?.error_for_status()?;
    ensure!(stage.begins().await?.attempt.job.spec.queue.as_str() == "slow");
    Ok(())
}
