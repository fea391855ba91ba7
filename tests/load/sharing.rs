//! The effect of tenants on one another, and how fast disabling stops attempts.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ISOLATED, SLOTS, percentile, push, queue, spread};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_flood_delays_another_tenants_job_by_two_job_lengths_at_most,
        attempts_of_a_disabled_plugin_stop_within_fifty_milliseconds,
        attempts_of_a_disabled_plugin_in_processes_stop_within_fifty_milliseconds,
    ]
}

/// The duration of each job, in nanoseconds of the guest's clock.
const NAP: &str = "100000000";

/// The duration of each job.
const JOB: Duration = Duration::from_millis(100);

/// The number of waiting jobs of one tenant.
const FLOOD: usize = 10_000;

async fn a_flood_delays_another_tenants_job_by_two_job_lengths_at_most() -> anyhow::Result<()> {
    let data = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let host = HostProcess::start(data.path(), &["--workers", "4"]).await?;
    let http = reqwest::Client::new();
    let at = |path: &str| format!("{}/v1/{path}", host.url());
    let nap = guests::assemble(&guests::SLEEP.replace("3600000000000", NAP))?;
    for tenant in ["flooding", "modest"] {
        let pushed = http.put(at("plugins/nap")).header("jobwright-tenant", tenant);
        pushed.body(nap.clone()).send().await?.error_for_status()?;
    }
    let submit = async |tenant: &str, path: &str, body: &Value| {
        let sent = http.post(at(path)).header("jobwright-tenant", tenant).json(body).send().await?;
        anyhow::Ok(sent.error_for_status()?.json::<Value>().await?)
    };
    let batch = Value::Array(vec![json!({ "plugin": "nap" }); 1_000]);
    for _ in 0..FLOOD / 1_000 {
        submit("flooding", "jobs/batch", &batch).await?;
    }
    let mut times = vec![];
    for _ in 0..50 {
        let job = submit("modest", "jobs", &json!({ "plugin": "nap" })).await?;
        let job = at(&format!("jobs/{}?wait=30s", job["id"].as_str().context("no id")?));
        let job = http.get(job).header("jobwright-tenant", "modest").send().await?;
        let job: Value = job.error_for_status()?.json().await?;
        let waited = job["attempts"][0]["usage"]["queue_ms"].as_f64().context("a receipt")?;
        times.push(Duration::from_secs_f64(waited / 1_000.0));
    }
    println!("until a job began beside {FLOOD} of another tenant: {}", spread(&mut times));
    ensure!(percentile(&times, 100) < 2 * JOB, "too slow");
    Ok(())
}

async fn attempts_of_a_disabled_plugin_stop_within_fifty_milliseconds() -> anyhow::Result<()> {
    attempts_of_a_disabled_plugin_stop(&[]).await
}

async fn attempts_of_a_disabled_plugin_in_processes_stop_within_fifty_milliseconds()
-> anyhow::Result<()> {
    attempts_of_a_disabled_plugin_stop(ISOLATED).await
}

async fn attempts_of_a_disabled_plugin_stop(flags: &[&str]) -> anyhow::Result<()> {
    let data = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let host = HostProcess::start(data.path(), flags).await?;
    let http = reqwest::Client::new();
    push(&host, "spin", guests::assemble(guests::SPIN)?).await?;
    let limits = json!({ "timeout_ms": 600_000, "fuel": "unlimited" });
    for _ in 0..SLOTS {
        let job = json!({ "plugin": "spin", "limits": limits });
        let sent = http.post(format!("{}/v1/jobs", host.url())).json(&job).send().await?;
        sent.error_for_status()?;
    }
    let switch = async |to: &str| {
        let url = format!("{}/v1/plugins/spin/{to}", host.url());
        anyhow::Ok(http.post(url).send().await?.error_for_status()?)
    };
    let running = async |count: usize| {
        while queue(&host, &http).await?["running"] != count {
            // The polling must not take the time that is measured.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        anyhow::Ok(())
    };
    let mut times = vec![];
    for _ in 0..30 {
        running(SLOTS).await?;
        // Wait until the attempts that have just begun are running.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let start = Instant::now();
        switch("disable").await?;
        running(0).await?;
        times.push(start.elapsed());
        switch("enable").await?;
    }
    println!("until all {SLOTS} attempts of a plugin have stopped: {}", spread(&mut times));
    ensure!(percentile(&times, 50) < Duration::from_millis(50), "too slow");
    Ok(())
}
