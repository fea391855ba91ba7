//! Which jobs may start, and which attempts must stop.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::runtime::StopReason;
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Fixture;

pub fn trials() -> Vec<Trial> {
    tests![
        no_more_attempts_run_than_there_are_slots,
        no_more_memory_is_reserved_than_the_budget_has,
        the_output_limit_counts_towards_the_memory_of_an_attempt,
        memory_outside_of_the_guests_memory_counts_too,
        a_cancelled_attempt_is_told_to_stop,
        a_paused_queue_starts_no_attempt,
        a_job_of_another_queue_starts_while_one_queue_fills_the_host,
        a_host_at_its_capacity_is_not_ready,
        a_single_worker_runs_queues_in_turn,
        the_last_of_few_workers_is_reserved_for_another_queue,
    ]
}

async fn no_more_attempts_run_than_there_are_slots() -> anyhow::Result<()> {
    let slots = NonZeroU32::new(2).unwrap_or(NonZeroU32::MIN);
    let fixture = Fixture::new(|config| {
        (config.workers, config.reserved_workers) = (slots, Some(0));
    })
    .await?;
    for _ in 0..3 {
        fixture.submit(json!({})).await?;
    }
    let (first, _second) = (fixture.begins().await?, fixture.begins().await?);
    let counts = fixture.host.get("/v1/queues/default").await?.json::<serde_json::Value>().await?;
    ensure!((&counts["running"], &counts["depth"]) == (&json!(2), &json!(3)), "{counts}");
    ensure!(fixture.runtime.begun().await.is_none(), "a third began");
    first.succeed();
    fixture.begins().await?;
    Ok(())
}

async fn no_more_memory_is_reserved_than_the_budget_has() -> anyhow::Result<()> {
    let fixture = Fixture::new(|config| {
        config.memory_budget_bytes = Some(100 << 20);
        config.ceilings.memory_bytes = Some(100 << 20);
    })
    .await?;
    let job = json!({ "limits": { "memory_bytes": 60 << 20 } });
    fixture.submit(job.clone()).await?;
    fixture.submit(job).await?;
    let first = fixture.begins().await?;
    let counts = fixture.host.get("/v1/queues/default").await?.json::<serde_json::Value>().await?;
    ensure!((&counts["running"], &counts["depth"]) == (&json!(1), &json!(2)), "{counts}");
    ensure!(
        fixture.runtime.begun().await.is_none(),
        "more memory was reserved than the budget has"
    );
    first.succeed();
    fixture.begins().await?;
    Ok(())
}

/// The host buffers the output until it is written.
async fn the_output_limit_counts_towards_the_memory_of_an_attempt() -> anyhow::Result<()> {
    let fixture = Fixture::new(|config| {
        config.memory_budget_bytes = Some(35 << 20);
        config.ceilings.memory_bytes = Some(35 << 20);
    })
    .await?;
    let limits =
        |output_bytes: u64| json!({ "memory_bytes": 1 << 20, "output_bytes": output_bytes });
    for output_bytes in [10 << 20, 1 << 20, 10 << 20] {
        fixture.submit(json!({ "limits": limits(output_bytes) })).await?;
    }
    // They begin in any order, if both were claimed at once.
    let mut begun = [fixture.begins().await?, fixture.begins().await?];
    begun.sort_by_key(|begun| begun.attempt.limits.output_bytes);
    let [_small, large] = begun;
    ensure!(
        fixture.runtime.begun().await.is_none(),
        "more memory was reserved than the budget has"
    );
    large.succeed();
    fixture.begins().await?;
    Ok(())
}

/// A guest with `count` globals, which are not part of its memory. It logs and sleeps.
fn globals(count: usize) -> anyhow::Result<Vec<u8>> {
    let globals = "(global (mut i64) (i64.const 7))".repeat(count);
    let text = guests::SLEEP.replacen("(memory (export", &format!("{globals} (memory (export"), 1);
    guests::assemble(&text)
}

/// Real guests on a host in a process of its own, and the memory that the process uses.
async fn memory_outside_of_the_guests_memory_counts_too() -> anyhow::Result<()> {
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
    ensure!(upload("greedy", globals(650_000)?).await?.status() == 422, "it was accepted");
    upload("large", globals(120_000)?).await?.error_for_status()?;
    let limits = json!({
        "memory_bytes": 64 << 10, "output_bytes": 1, "log_bytes": 100, "checkpoint_bytes": 1,
    });
    let job = json!({ "plugin": "large", "limits": limits });
    let before = host.peak_bytes()?;
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
    let grown = host.peak_bytes()?.saturating_sub(before);
    ensure!(grown < BUDGET, "{} MiB for ten attempts", grown >> 20);
    Ok(())
}

async fn a_cancelled_attempt_is_told_to_stop() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    let answer = fixture.host.post(&format!("/v1/jobs/{id}/cancel"), json!(null)).await?;
    ensure!(answer.status() == StatusCode::ACCEPTED);
    ensure!(attempt.stop.wait().await == StopReason::Cancelled);
    ensure!(fixture.host.finalized(&id).await?["state"] == "cancelled");
    Ok(())
}

async fn a_paused_queue_starts_no_attempt() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    fixture.host.post("/v1/queues/slow/pause", json!(null)).await?.error_for_status()?;
    fixture.submit(json!({ "queue": "slow" })).await?;
    fixture.submit(json!({})).await?;
    let first = fixture.begins().await?;
    ensure!(first.attempt.job.spec.queue.as_str() == "default");
    ensure!(fixture.runtime.begun().await.is_none(), "a paused job began");
    fixture.host.post("/v1/queues/slow/resume", json!(null)).await?.error_for_status()?;
    ensure!(fixture.begins().await?.attempt.job.spec.queue.as_str() == "slow");
    Ok(())
}

async fn a_job_of_another_queue_starts_while_one_queue_fills_the_host() -> anyhow::Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let batch: Vec<Value> = vec![json!({ "plugin": "p", "queue": "slow" }); 200];
    fixture.host.post("/v1/jobs/batch", json!(batch)).await?.error_for_status()?;
    let mut running = vec![];
    for _ in 0..56 {
        running.push(fixture.begins().await?);
    }
    ensure!(
        fixture.runtime.begun().await.is_none(),
        "the last workers are reserved for other queues"
    );
    for queue in ["fast", "other"] {
        fixture.submit(json!({ "queue": queue, "priority": 4 })).await?;
        let begun = fixture.begins().await?;
        ensure!(begun.attempt.job.spec.queue.as_str() == queue);
        running.push(begun);
    }
    Ok(())
}

async fn a_host_at_its_capacity_is_not_ready() -> anyhow::Result<()> {
    let fixture = Fixture::of(CapacityLimits { total: 1, ..Default::default() }, |_| {}).await?;
    fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    let refused = fixture.host.post("/v1/jobs", json!({ "plugin": "p" })).await?;
    ensure!(refused.status() == StatusCode::SERVICE_UNAVAILABLE);
    let answer = fixture.host.get("/readyz").await?;
    ensure!(answer.status() == StatusCode::SERVICE_UNAVAILABLE);
    ensure!(answer.json::<Value>().await?["code"] == "queue_full");
    let id = attempt.attempt.job.id.to_string();
    attempt.succeed();
    fixture.host.finalized(&id).await?;
    ensure!(fixture.host.get("/readyz").await?.status() == StatusCode::OK);
    Ok(())
}

async fn a_single_worker_runs_queues_in_turn() -> anyhow::Result<()> {
    let fixture = Fixture::new(|config| config.workers = NonZeroU32::MIN).await?;
    for queue in ["slow", "slow", "slow", "fast", "fast"] {
        fixture.submit(json!({ "queue": queue })).await?;
    }
    for queue in ["slow", "fast", "slow", "fast", "slow"] {
        let begun = fixture.begins().await?;
        ensure!(begun.attempt.job.spec.queue.as_str() == queue, "{queue} is next");
        ensure!(fixture.runtime.begun().await.is_none());
        begun.succeed();
    }
    Ok(())
}

async fn the_last_of_few_workers_is_reserved_for_another_queue() -> anyhow::Result<()> {
    let slots = NonZeroU32::new(2).unwrap_or(NonZeroU32::MIN);
    let fixture = Fixture::new(|config| {
        (config.workers, config.reserved_workers) = (slots, Some(1));
    })
    .await?;
    let batch: Vec<Value> = vec![json!({ "plugin": "p", "queue": "slow" }); 20];
    fixture.host.post("/v1/jobs/batch", json!(batch)).await?.error_for_status()?;
    let _slow = fixture.begins().await?;
    ensure!(
        fixture.runtime.begun().await.is_none(),
        "the last worker is reserved for other queues"
    );
    fixture.submit(json!({ "queue": "fast" })).await?;
    ensure!(fixture.begins().await?.attempt.job.spec.queue.as_str() == "fast");
    Ok(())
}
