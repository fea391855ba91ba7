//! Who may run, and who has to stop.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::runtime::StopReason;
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Stage;

pub fn trials() -> Vec<Trial> {
    tests![
        no_more_attempts_run_than_there_are_slots,
        no_more_memory_is_promised_than_there_is,
        what_an_attempt_may_leave_counts_as_its_memory,
        what_attempts_take_beside_their_memory_counts_too,
        a_cancelled_attempt_is_told_to_stop,
        a_paused_queue_begins_nothing,
        a_job_of_another_queue_begins_at_once_though_one_has_filled_the_host,
        a_host_that_holds_all_it_may_is_not_ready,
        a_single_worker_runs_queues_in_turn,
        the_last_of_few_workers_is_left_to_another_queue,
    ]
}

async fn no_more_attempts_run_than_there_are_slots() -> anyhow::Result<()> {
    let slots = NonZeroU32::new(2).unwrap_or(NonZeroU32::MIN);
    let stage = Stage::new(|config| {
        (config.workers, config.reserved_workers) = (slots, Some(0));
    })
    .await?;
    for _ in 0..3 {
        stage.submit(json!({})).await?;
    }
    let (first, _second) = (stage.begins().await?, stage.begins().await?);
    let counts = stage.host.get("/v1/queues/default").await?.json::<serde_json::Value>().await?;
    ensure!((&counts["running"], &counts["depth"]) == (&json!(2), &json!(3)), "{counts}");
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
    ensure!((&counts["running"], &counts["depth"]) == (&json!(1), &json!(2)), "{counts}");
    ensure!(stage.runtime.begun().await.is_none(), "more memory was promised than there is");
    first.succeed();
    stage.begins().await?;
    Ok(())
}

/// The host holds it until it is written.
async fn what_an_attempt_may_leave_counts_as_its_memory() -> anyhow::Result<()> {
    let stage = Stage::new(|config| {
        config.memory_budget_bytes = Some(35 << 20);
        config.ceilings.memory_bytes = Some(35 << 20);
    })
    .await?;
    let limits =
        |output_bytes: u64| json!({ "memory_bytes": 1 << 20, "output_bytes": output_bytes });
    for output_bytes in [10 << 20, 1 << 20, 10 << 20] {
        stage.submit(json!({ "limits": limits(output_bytes) })).await?;
    }
    // They begin in any order, if both were claimed at once.
    let mut begun = [stage.begins().await?, stage.begins().await?];
    begun.sort_by_key(|begun| begun.attempt.limits.output_bytes);
    let [_small, large] = begun;
    ensure!(stage.runtime.begun().await.is_none(), "more memory was promised than there is");
    large.succeed();
    stage.begins().await?;
    Ok(())
}

/// A guest with so many globals, which are no part of its memory, that logs and sleeps.
fn globals(count: usize) -> anyhow::Result<Vec<u8>> {
    let globals = "(global (mut i64) (i64.const 7))".repeat(count);
    let text = guests::SLEEP.replacen("(memory (export", &format!("{globals} (memory (export"), 1);
    guests::assemble(&text)
}

/// Real guests in a process of their own, and the memory that it really takes.
async fn what_attempts_take_beside_their_memory_counts_too() -> anyhow::Result<()> {
    const BUDGET: u64 = 64 << 20;
    let data = tempfile::tempdir()?;
    let config = data.path().join("config.toml");
    let text = format!("memory_budget_bytes = {BUDGET}\nreserved_workers = 0\n");
    std::fs::write(&config, text)?;
    let config = config.to_str().context("a path of text")?;
    let host = HostProcess::start(&data.path().join("data"), &["--config", config]).await?;
    let (http, url) = (reqwest::Client::new(), host.url());
    let upload = async |name: &str, wasm: Vec<u8>| {
        http.put(format!("{url}/v1/plugins/{name}")).body(wasm).send().await
    };
    // Ten MiB for an attempt of 64 KiB.
    ensure!(upload("greedy", globals(650_000)?).await?.status() == 422, "it was let in");
    upload("large", globals(120_000)?).await?.error_for_status()?;
    let limits = json!({
        "memory_bytes": 64 << 10, "output_bytes": 1, "log_bytes": 100, "checkpoint_bytes": 1,
    });
    let job = json!({ "plugin": "large", "limits": limits });
    let before = peak(&host)?;
    let mut ids = vec![];
    for _ in 0..64 {
        let job = http.post(format!("{url}/v1/jobs")).json(&job).send().await?;
        let job: Value = job.error_for_status()?.json().await?;
        ids.push(job["id"].as_str().context("an id")?.to_owned());
    }
    // Six MiB each.
    for id in &ids[..10] {
        let begun = async {
            loop {
                let log = http.get(format!("{url}/v1/jobs/{id}/logs")).send().await?;
                if !log.text().await?.is_empty() {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), begun).await??;
    }
    let counts: Value = http.get(format!("{url}/v1/queues/default")).send().await?.json().await?;
    ensure!(counts["running"] == 10, "{counts}");
    let grown = peak(&host)? - before;
    ensure!(grown < BUDGET, "{} MiB for ten attempts", grown >> 20);
    Ok(())
}

/// The most memory that a host ever had.
fn peak(host: &HostProcess) -> anyhow::Result<u64> {
    let id = host.id().context("it runs")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()).context("it has a peak")?;
    Ok(kib.parse::<u64>()? << 10)
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

async fn a_job_of_another_queue_begins_at_once_though_one_has_filled_the_host() -> anyhow::Result<()>
{
    let stage = Stage::new(|_| {}).await?;
    let batch: Vec<Value> = vec![json!({ "plugin": "p", "queue": "slow" }); 200];
    stage.host.post("/v1/jobs/batch", json!(batch)).await?.error_for_status()?;
    let mut running = vec![];
    for _ in 0..56 {
        running.push(stage.begins().await?);
    }
    ensure!(stage.runtime.begun().await.is_none(), "the last workers are left to others");
    for queue in ["fast", "other"] {
        stage.submit(json!({ "queue": queue, "priority": 4 })).await?;
        let begun = stage.begins().await?;
        ensure!(begun.attempt.job.spec.queue.as_str() == queue);
        running.push(begun);
    }
    Ok(())
}

async fn a_host_that_holds_all_it_may_is_not_ready() -> anyhow::Result<()> {
    let stage = Stage::of(CapacityLimits { total: 1, ..Default::default() }, |_| {}).await?;
    stage.submit(json!({})).await?;
    let attempt = stage.begins().await?;
    let refused = stage.host.post("/v1/jobs", json!({ "plugin": "p" })).await?;
    ensure!(refused.status() == StatusCode::SERVICE_UNAVAILABLE);
    let answer = stage.host.get("/readyz").await?;
    ensure!(answer.status() == StatusCode::SERVICE_UNAVAILABLE);
    ensure!(answer.json::<Value>().await?["code"] == "queue_full");
    let id = attempt.attempt.job.id.to_string();
    attempt.succeed();
    stage.host.finalized(&id).await?;
    ensure!(stage.host.get("/readyz").await?.status() == StatusCode::OK);
    Ok(())
}

async fn a_single_worker_runs_queues_in_turn() -> anyhow::Result<()> {
    let stage = Stage::new(|config| config.workers = NonZeroU32::MIN).await?;
    for queue in ["slow", "slow", "slow", "fast", "fast"] {
        stage.submit(json!({ "queue": queue })).await?;
    }
    for queue in ["slow", "fast", "slow", "fast", "slow"] {
        let begun = stage.begins().await?;
        ensure!(begun.attempt.job.spec.queue.as_str() == queue, "{queue} has its turn");
        ensure!(stage.runtime.begun().await.is_none());
        begun.succeed();
    }
    Ok(())
}

async fn the_last_of_few_workers_is_left_to_another_queue() -> anyhow::Result<()> {
    let slots = NonZeroU32::new(2).unwrap_or(NonZeroU32::MIN);
    let stage = Stage::new(|config| {
        (config.workers, config.reserved_workers) = (slots, Some(1));
    })
    .await?;
    let batch: Vec<Value> = vec![json!({ "plugin": "p", "queue": "slow" }); 20];
    stage.host.post("/v1/jobs/batch", json!(batch)).await?.error_for_status()?;
    let _slow = stage.begins().await?;
    ensure!(stage.runtime.begun().await.is_none(), "the last worker is left to others");
    stage.submit(json!({ "queue": "fast" })).await?;
    ensure!(stage.begins().await?.attempt.job.spec.queue.as_str() == "fast");
    Ok(())
}
