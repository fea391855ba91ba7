//! Every acknowledged job survives the death of the host.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, TestHost, guests, jobwright, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::Mutex;

pub fn trials() -> Vec<Trial> {
    tests![
        acknowledged_jobs_are_finalized_once_however_often_the_host_is_killed,
        a_plugin_whose_job_takes_its_host_down_is_flagged,
        sigterm_stops_a_host_gracefully,
        a_second_signal_ends_a_host_at_once,
        a_second_host_on_the_same_directory_is_refused,
        a_host_with_little_address_space_fails_no_job_for_it,
        a_stopped_host_releases_its_running_job_without_counting_the_attempt,
    ]
}

/// How often the host is killed.
const KILLS: usize = 20;

/// The number of clients that submit meanwhile.
const CLIENTS: usize = 4;

/// The ids of all jobs that were acknowledged with `202`.
type Ledger = Arc<Mutex<Vec<String>>>;

async fn acknowledged_jobs_are_finalized_once_however_often_the_host_is_killed()
-> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let ledger = Ledger::default();
    for kill in 0..KILLS {
        let host = HostProcess::start(data.path(), &[]).await?;
        if kill == 0 {
            push(host.url(), "echo", guests::echo()?).await?;
        }
        let alive = Arc::new(AtomicBool::new(true));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                tokio::spawn(submit_until_dead(
                    host.url().to_owned(),
                    ledger.clone(),
                    alive.clone(),
                ))
            })
            .collect();
        // A random moment, to interrupt the host at any point of its work.
        let moment = Duration::from_micros(20_000 + u64::from(rand::random::<u16>()) * 4);
        tokio::time::sleep(moment).await;
        host.kill().await?;
        alive.store(false, Ordering::Relaxed);
        for client in clients {
            client.await?;
        }
    }
    let ledger = ledger.lock().await.clone();
    ensure!(ledger.len() > KILLS, "only {} jobs were accepted", ledger.len());
    let attempts = drain(data.path(), &ledger).await?;
    println!("{KILLS} kills, {} jobs acknowledged, by attempts made: {attempts:?}", ledger.len());
    Ok(())
}

async fn submit_until_dead(url: String, ledger: Ledger, alive: Arc<AtomicBool>) {
    let http = reqwest::Client::new();
    let job = json!({ "plugin": "echo", "payload": { "n": 1 } });
    while alive.load(Ordering::Relaxed) {
        let Ok(answer) = http.post(format!("{url}/v1/jobs")).json(&job).send().await else {
            return;
        };
        if answer.status() != reqwest::StatusCode::ACCEPTED {
            continue;
        }
        // The head has arrived, so the job is on disk, whether or not the rest arrives.
        let Some(place) = answer.headers().get("location").and_then(|l| l.to_str().ok()) else {
            return;
        };
        ledger.lock().await.push(place.to_owned());
    }
}

/// Starts the host a last time and waits until every job of the ledger is finalized; returns how many
/// jobs took how many attempts.
async fn drain(data: &Path, ledger: &[String]) -> anyhow::Result<BTreeMap<u64, usize>> {
    let host = HostProcess::start(data, &[]).await?;
    let http = reqwest::Client::new();
    let mut by_attempts = BTreeMap::new();
    for place in ledger {
        let answer = http.get(format!("{}{place}?wait=60s", host.url())).send().await?;
        let job: Value =
            answer.error_for_status().context("an acknowledged job is lost")?.json().await?;
        ensure!(job["state"] == "completed" || job["state"] == "discarded", "{job}");
        let attempts = job["attempts"].as_array().context("attempts are a list")?;
        let successes = attempts.iter().filter(|a| a["outcome"] == "succeeded").count();
        let lost = attempts.iter().filter(|a| a["outcome"] == "lost").count();
        let over = if job["state"] == "completed" { successes == 1 } else { lost == 3 };
        ensure!(over && successes <= 1, "finalized more than once, or not at all: {job}");
        *by_attempts.entry(attempts.len() as u64).or_default() += 1;
    }
    Ok(by_attempts)
}

async fn push(url: &str, name: &str, wasm: Vec<u8>) -> anyhow::Result<()> {
    let url = format!("{url}/v1/plugins/{name}");
    reqwest::Client::new().put(url).body(wasm).send().await?.error_for_status()?;
    Ok(())
}

async fn a_plugin_whose_job_takes_its_host_down_is_flagged() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let http = reqwest::Client::new();
    let get = async |url: String| -> anyhow::Result<Value> {
        Ok(http.get(url).send().await?.error_for_status()?.json().await?)
    };
    let mut host = HostProcess::start(data.path(), &[]).await?;
    push(host.url(), "sleep", guests::assemble(guests::SLEEP)?).await?;
    ensure!(get(format!("{}/v1/plugins/sleep", host.url())).await?["lost_jobs"] == json!([]));
    let job = http.post(format!("{}/v1/jobs", host.url())).json(&json!({ "plugin": "sleep" }));
    let job: Value = job.send().await?.json().await?;
    let place = format!("/v1/jobs/{}", job["id"].as_str().context("an id")?);
    for _ in 0..3 {
        while get(format!("{}{place}", host.url())).await?["state"] != "running" {
            tokio::task::yield_now().await;
        }
        host.kill().await?;
        host = HostProcess::start(data.path(), &[]).await?;
    }
    let over = get(format!("{}{place}", host.url())).await?;
    ensure!(over["state"] == "discarded" && over["attempts"][2]["outcome"] == "lost", "{over}");
    let plugin = get(format!("{}/v1/plugins/sleep", host.url())).await?;
    ensure!(plugin["lost_jobs"][0]["id"] == job["id"], "{plugin}");
    Ok(())
}

async fn sigterm_stops_a_host_gracefully() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let host = HostProcess::start(data.path(), &[]).await?;
    let id = host.id().context("it runs")?.to_string();
    let told = tokio::process::Command::new("kill").args(["-TERM", &id]).status().await?;
    ensure!(told.success());
    ensure!(host.ended().await?.success());
    // After a graceful shutdown no write-ahead log is left.
    let log = data.path().join("jobs.db-wal");
    ensure!(!log.exists() || std::fs::metadata(&log)?.len() == 0);
    Ok(())
}

async fn a_second_signal_ends_a_host_at_once() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let host = HostProcess::start(data.path(), &[]).await?;
    push(host.url(), "sleep", guests::assemble(guests::SLEEP)?).await?;
    let (http, jobs) = (reqwest::Client::new(), format!("{}/v1/jobs", host.url()));
    let job = http.post(&jobs).json(&json!({ "plugin": "sleep" })).send().await?;
    let url = format!("{jobs}/{}", job.json::<Value>().await?["id"].as_str().unwrap_or_default());
    while http.get(&url).send().await?.json::<Value>().await?["state"] != "running" {
        tokio::task::yield_now().await;
    }
    // The grace period is 30 s, and the job sleeps for an hour: only the second signal ends it.
    let id = host.id().context("it runs")?.to_string();
    let ended = tokio::spawn(host.ended());
    while !ended.is_finished() {
        tokio::process::Command::new("kill").args(["-INT", &id]).output().await?;
        tokio::task::yield_now().await;
    }
    ensure!(ended.await??.code() == Some(1));
    Ok(())
}

/// A pool needs terabytes of address space. Without it, a guest's memory is allocated as it grows, and a
/// job for which there is no memory is retried later.
async fn a_host_with_little_address_space_fails_no_job_for_it() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let host = HostProcess::start_limited(data.path(), "ulimit -v 1500000").await?;
    let http = reqwest::Client::new();
    let large = r#"(module (memory (export "memory") 16000) (func (export "_start")))"#;
    for (name, wasm) in [("echo", guests::echo()?), ("large", guests::assemble(large)?)] {
        let url = format!("{}/v1/plugins/{name}", host.url());
        http.put(url).body(wasm).send().await?.error_for_status()?;
    }
    let run = async |plugin: &str, wait: &str| -> anyhow::Result<serde_json::Value> {
        let job = json!({ "plugin": plugin, "limits": { "memory_bytes": 1 << 30 } });
        let asked = http.post(format!("{}/v1/jobs", host.url())).json(&job);
        Ok(asked.header("prefer", wait).send().await?.error_for_status()?.json().await?)
    };
    // Each would have reserved 4 GiB.
    let echoed = run("echo", "wait=30").await?;
    ensure!(echoed["state"] == "completed", "{echoed}");
    // More than the program itself leaves.
    let id = run("large", "wait=0").await?["id"].as_str().context("an id")?.to_owned();
    let tried = async {
        loop {
            let job: serde_json::Value =
                http.get(format!("{}/v1/jobs/{id}", host.url())).send().await?.json().await?;
            if !job["attempts"][0].is_null() {
                return anyhow::Ok(job);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let job = tokio::time::timeout(Duration::from_secs(60), tried).await??;
    ensure!(job["attempts"][0]["outcome"] == "refused", "{job}");
    ensure!(job["attempts"][0]["error"]["code"] == "host_memory", "{job}");
    ensure!(job["state"] == "retryable" && job["failures"] == 0, "{job}");
    Ok(())
}

async fn a_second_host_on_the_same_directory_is_refused() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let mut second = jobwright(["serve", "--listen", "127.0.0.1:0", "--data"])?;
    let output = second.arg(host.directory()).output().await?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{:?}", output.status);
    ensure!(message.contains("is in use by another host"), "{message}");
    ensure!(message.contains(&std::process::id().to_string()), "{message}");
    Ok(())
}

async fn a_stopped_host_releases_its_running_job_without_counting_the_attempt() -> anyhow::Result<()>
{
    let host =
        TestHost::configured(|config| config.shutdown_grace = Duration::from_millis(50)).await?;
    host.push("sleep", guests::assemble(guests::SLEEP)?).await?;
    let id = host.submit(json!({ "plugin": "sleep", "max_attempts": 1 })).await?;
    while host.job(&id).await?["state"] != "running" {
        tokio::task::yield_now().await;
    }
    let directory = host.stop().await?;
    let host = TestHost::on(directory, |_| {}).await?;
    let job = host.job(&id).await?;
    ensure!(job["attempts"][0]["outcome"] == "interrupted", "{job}");
    ensure!(job["failures"] == 0 && job["finalized_at"].is_null(), "{job}");
    Ok(())
}
