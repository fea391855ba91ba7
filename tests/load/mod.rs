//! Measurements, ignored by default because they need a release build and an idle machine. How to run them
//! is in `host/docs/src/working.md`.

mod routes;
mod sharing;
mod table;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, components, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::time::Instant;

pub fn trials() -> Vec<Trial> {
    let mut measurements = tests![
        the_api_responds_while_every_worker_spins,
        a_cancelled_job_stops_within_fifty_milliseconds,
        the_api_responds_while_every_process_spins,
        a_cancelled_job_in_another_process_stops_within_fifty_milliseconds,
    ];
    measurements.extend(routes::trials());
    measurements.extend(sharing::trials());
    measurements.extend(table::trials());
    measurements.into_iter().map(|trial| trial.with_ignored_flag(true)).collect()
}

/// Prints the table of what was measured, after all tests.
pub fn finish() {
    table::finish();
}

/// The default number of attempts in flight.
const SLOTS: usize = 64;

async fn the_api_responds_while_every_worker_spins() -> anyhow::Result<()> {
    the_api_responds(&[]).await
}

async fn the_api_responds_while_every_process_spins() -> anyhow::Result<()> {
    the_api_responds(ISOLATED).await
}

/// The flags of a host that runs each attempt in a process.
const ISOLATED: &[&str] = &["--isolation", "process"];

async fn the_api_responds(flags: &[&str]) -> anyhow::Result<()> {
    let data = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let host = HostProcess::start(data.path(), flags).await?;
    push(&host, "spin", guests::assemble(guests::SPIN)?).await?;
    let http = reqwest::Client::new();
    let (jobs, health) = (format!("{}/v1/jobs", host.url()), format!("{}/healthz", host.url()));
    for _ in 0..SLOTS {
        let job = json!({ "plugin": "spin", "limits": { "timeout_ms": 600_000 } });
        http.post(&jobs).json(&job).send().await?.error_for_status()?;
    }
    while queue(&host, &http).await?["running"] != SLOTS {
        tokio::task::yield_now().await;
    }
    let (mut reads, mut writes) = (vec![], vec![]);
    for _ in 0..300 {
        let start = Instant::now();
        http.get(&health).send().await?.error_for_status()?;
        reads.push(start.elapsed());
        let start = Instant::now();
        http.post(&jobs).json(&json!({ "plugin": "spin" })).send().await?.error_for_status()?;
        writes.push(start.elapsed());
    }
    println!("with 64 guests spinning: GET /healthz {}", spread(&mut reads));
    println!("with 64 guests spinning: POST /v1/jobs {}", spread(&mut writes));
    for times in [&reads, &writes] {
        ensure!(percentile(times, 99) < Duration::from_millis(100), "too slow");
    }
    Ok(())
}

/// Calls the host repeatedly; each call takes a millisecond or more and cannot be interrupted.
const ASK: &str = r#"(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 17)
  (func (export "_start")
    (loop $again (drop (call $random (i32.const 0) (i32.const 1048576))) (br $again))))"#;

/// Waits in a host call that never returns.
const WAIT: &str = "(call $sleep (i64.const -1))";

async fn a_cancelled_job_stops_within_fifty_milliseconds() -> anyhow::Result<()> {
    a_cancelled_job_stops(&[]).await
}

async fn a_cancelled_job_in_another_process_stops_within_fifty_milliseconds() -> anyhow::Result<()>
{
    a_cancelled_job_stops(ISOLATED).await
}

async fn a_cancelled_job_stops(flags: &[&str]) -> anyhow::Result<()> {
    let data = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let host = HostProcess::start(data.path(), flags).await?;
    let http = reqwest::Client::new();
    let guests = [
        ("spin", guests::assemble(guests::SPIN)?),
        ("sleep", guests::assemble(guests::SLEEP)?),
        ("wait", components::command("", WAIT)?),
        ("ask", guests::assemble(ASK)?),
    ];
    for (name, guest) in &guests {
        push(&host, name, guest.clone()).await?;
    }
    let jobs = format!("{}/v1/jobs", host.url());
    let begin = async |name: &str| {
        let job =
            json!({ "plugin": name, "limits": { "timeout_ms": 600_000, "fuel": "unlimited" } });
        let job: Value =
            http.post(&jobs).json(&job).send().await?.error_for_status()?.json().await?;
        let url = format!("{jobs}/{}", job["id"].as_str().context("no id")?);
        while http.get(&url).send().await?.json::<Value>().await?["state"] != "running" {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(url)
    };
    // All slots spin except the one of the job that is cancelled.
    for _ in 1..SLOTS {
        begin("spin").await?;
    }
    for (name, _) in &guests {
        let mut times = vec![];
        for _ in 0..100 {
            let url = begin(name).await?;
            let start = Instant::now();
            http.post(format!("{url}/cancel")).send().await?.error_for_status()?;
            let job = http.get(format!("{url}?wait=10s")).send().await?.json::<Value>().await?;
            times.push(start.elapsed());
            ensure!(job["state"] == "cancelled", "{job}");
        }
        println!("request to cancel until the job is over, {name}: {}", spread(&mut times));
        ensure!(percentile(&times, 99) < Duration::from_millis(50), "too slow");
    }
    Ok(())
}

async fn push(host: &HostProcess, name: &str, wasm: Vec<u8>) -> anyhow::Result<()> {
    let url = format!("{}/v1/plugins/{name}", host.url());
    reqwest::Client::new().put(url).body(wasm).send().await?.error_for_status()?;
    Ok(())
}

/// The counts of the default queue.
async fn queue(host: &HostProcess, http: &reqwest::Client) -> anyhow::Result<Value> {
    Ok(http.get(format!("{}/v1/queues/default", host.url())).send().await?.json().await?)
}

/// Waits until no job is queued, scheduled or running.
async fn until_idle(host: &HostProcess) -> anyhow::Result<()> {
    let http = reqwest::Client::new();
    loop {
        let queue = queue(host, &http).await?;
        let counts = ["depth", "parked", "running"].map(|count| queue[count].as_u64());
        if counts == [Some(0); 3] {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let [p50, p99, most] = [50, 99, 100].map(|p| percentile(times, p));
    format!("p50 {p50:.1?}, p99 {p99:.1?}, slowest {most:.1?}")
}

/// A percentile of sorted times.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(place).copied().unwrap_or_default()
}
