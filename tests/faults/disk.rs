//! System calls that fail while the host runs, and when it starts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use jobwright_tests::{Running, jobwright};
use reqwest::StatusCode;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::Test;
use super::shim::{Fixture, Shim};

pub(super) const TESTS: &[Test] = &[
    ("integration::faults::a_failed_sync_stops_the_store_for_good_and_loses_nothing", |shim| {
        Box::pin(a_failed_sync_stops_the_store_for_good_and_loses_nothing(shim)) as Running
    }),
    ("integration::faults::writes_to_a_full_disk_are_refused_until_there_is_space", |shim| {
        Box::pin(writes_to_a_full_disk_are_refused_until_there_is_space(shim))
    }),
    ("integration::faults::nobody_reads_a_job_before_it_is_on_disk", |shim| {
        Box::pin(nobody_reads_a_job_before_it_is_on_disk(shim))
    }),
    ("integration::faults::short_reads_and_writes_are_continued", |shim| {
        Box::pin(short_reads_and_writes_are_continued(shim))
    }),
    ("integration::faults::an_unreadable_store_is_refused_and_not_treated_as_empty", |shim| {
        Box::pin(an_unreadable_store_is_refused_and_not_treated_as_empty(shim))
    }),
];

/// The number of hosts whose disk fails at a random moment.
const ROUNDS: usize = 5;

/// Long enough for a store that retries to have tried twice.
const SEVERAL_TRIES: Duration = Duration::from_millis(2500);

/// How many requests that read no job are answered meanwhile.
const PROBES: usize = 50;

/// Waits until some moment within a burst of requests.
async fn some_moment() {
    sleep(Duration::from_micros(5_000 + u64::from(rand::random::<u16>()))).await;
}

/// After a failed sync it is unknown what the disk holds: a second sync that succeeds does not write
/// what the first one dropped.
async fn a_failed_sync_stops_the_store_for_good_and_loses_nothing(
    shim: Arc<Shim>,
) -> anyhow::Result<()> {
    let fixture = Fixture::new(shim)?;
    fixture.start_first().await?.kill().await?;
    for _ in 0..ROUNDS {
        let host = fixture.start().await?;
        fixture.all_are_there(&host).await?;
        let clients = fixture.submit_until_refused(host.url());
        some_moment().await;
        fixture.raise("sync")?;
        for client in clients {
            let told = timeout(Duration::from_secs(30), client).await??;
            ensure!(told == Some(StatusCode::SERVICE_UNAVAILABLE), "{told:?}");
        }
        let (ready, why) = fixture.ready(&host).await?;
        ensure!(!ready && why["code"] == "store_unavailable", "{why}");
        fixture.lower("sync")?;
        fixture.raise("count")?;
        let failed = fixture.made("count");
        let until = Instant::now() + SEVERAL_TRIES;
        while Instant::now() < until {
            let told = fixture.submit(host.url()).await?;
            ensure!(told == StatusCode::SERVICE_UNAVAILABLE, "{told}");
            let (ready, why) = fixture.ready(&host).await?;
            ensure!(!ready, "{why}");
        }
        ensure!(fixture.made("count") == failed, "the sync was retried");
        fixture.lower("count")?;
        // What the failed commit wrote could be read, and be undone by a power loss.
        let list = fixture.http.get(format!("{}/v1/jobs", host.url())).send().await?;
        ensure!(list.status() == StatusCode::SERVICE_UNAVAILABLE, "{}", list.status());
        host.kill().await?;
    }
    let host = fixture.start().await?;
    fixture.all_are_there(&host).await?;
    let jobs = fixture.all_are_completed(&host).await?;
    println!("{ROUNDS} stores stopped by a failed sync, {jobs} jobs acknowledged and completed");
    Ok(())
}

async fn writes_to_a_full_disk_are_refused_until_there_is_space(
    shim: Arc<Shim>,
) -> anyhow::Result<()> {
    let fixture = Fixture::new(shim)?;
    let host = fixture.start_first().await?;
    for _ in 0..ROUNDS {
        let clients = fixture.submit_until_refused(host.url());
        some_moment().await;
        fixture.raise("full")?;
        for client in clients {
            let told = timeout(Duration::from_secs(30), client).await??;
            ensure!(told == Some(StatusCode::SERVICE_UNAVAILABLE), "{told:?}");
        }
        let (ready, why) = fixture.ready(&host).await?;
        ensure!(!ready && why["reason"].to_string().contains("full"), "{why}");
        fixture.lower("full")?;
        let accepted = async {
            while fixture.submit(host.url()).await? != StatusCode::ACCEPTED {
                sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(30), accepted).await??;
        fixture.all_are_there(&host).await?;
    }
    host.kill().await?;
    let host = fixture.start().await?;
    let jobs = fixture.all_are_completed(&host).await?;
    println!("{ROUNDS} times no room, {} writes, {jobs} jobs completed", fixture.made("full"));
    Ok(())
}

/// While the sync of a job's commit does not return, neither its submitter nor a reader gets an answer.
async fn nobody_reads_a_job_before_it_is_on_disk(shim: Arc<Shim>) -> anyhow::Result<()> {
    let fixture = Fixture::new(shim)?;
    let host = fixture.start_first().await?;
    let list = format!("{}/v1/jobs", host.url());
    fixture.raise("hold")?;
    let (submitter, url) = (fixture.clone(), host.url().to_owned());
    let submitted = tokio::spawn(async move { submitter.submit(&url).await });
    let held = async {
        while fixture.made("hold") == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(30), held).await?;
    let reading = tokio::spawn(fixture.http.get(&list).send());
    // Long enough for an answer that does not wait.
    for _ in 0..PROBES {
        fixture.http.get(format!("{}/healthz", host.url())).send().await?.error_for_status()?;
    }
    ensure!(!submitted.is_finished() && !reading.is_finished(), "an answer before the sync");
    fixture.lower("hold")?;
    ensure!(timeout(Duration::from_secs(30), submitted).await??? == StatusCode::ACCEPTED);
    reading.await??.error_for_status()?;
    let page: serde_json::Value = fixture.http.get(&list).send().await?.json().await?;
    ensure!(page["jobs"].as_array().is_some_and(|jobs| jobs.len() == 1), "{page}");
    Ok(())
}

async fn short_reads_and_writes_are_continued(shim: Arc<Shim>) -> anyhow::Result<()> {
    let fixture = Fixture::new(shim)?;
    fixture.raise("short")?;
    let host = fixture.start_first().await?;
    for _ in 0..30 {
        ensure!(fixture.submit(host.url()).await? == StatusCode::ACCEPTED);
    }
    host.kill().await?;
    let host = fixture.start().await?;
    fixture.all_are_completed(&host).await?;
    ensure!(fixture.made("short") > 100, "only {} calls were cut short", fixture.made("short"));
    Ok(())
}

async fn an_unreadable_store_is_refused_and_not_treated_as_empty(
    shim: Arc<Shim>,
) -> anyhow::Result<()> {
    let fixture = Fixture::new(shim)?;
    let host = fixture.start_first().await?;
    for _ in 0..20 {
        let job = json!({ "plugin": "echo", "delay_ms": 3_600_000 });
        let answer = fixture.post(&host, &job).await?.error_for_status()?;
        let job: serde_json::Value = answer.json().await?;
        fixture.acknowledged(format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_default()));
    }
    host.kill().await?;
    fixture.raise("read")?;
    let mut command = jobwright(["serve", "--listen", "127.0.0.1:0", "--data"])?;
    command.arg(fixture.data.path()).envs(fixture.environment());
    let output = timeout(Duration::from_secs(30), command.output()).await??;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{:?}: {message}", output.status);
    ensure!(message.contains("job store") && message.contains("jobs.db"), "{message}");
    ensure!(message.contains("I/O") || message.contains("Input/output error"), "{message}");
    fixture.lower("read")?;
    let host = fixture.start().await?;
    ensure!(fixture.all_are_there(&host).await? == 20);
    Ok(())
}
