//! Calls that fail while the host runs, and when it starts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use jobwright_tests::{Running, jobwright};
use reqwest::StatusCode;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::Test;
use super::shim::{Shim, Stage};

pub(super) const TESTS: &[Test] = &[
    ("integration::faults::a_failed_sync_stops_the_store_for_good_and_loses_nothing", |shim| {
        Box::pin(a_failed_sync_stops_the_store_for_good_and_loses_nothing(shim)) as Running
    }),
    ("integration::faults::writes_without_room_are_refused_until_there_is_room", |shim| {
        Box::pin(writes_without_room_are_refused_until_there_is_room(shim))
    }),
    ("integration::faults::reads_and_writes_that_do_half_are_made_whole", |shim| {
        Box::pin(reads_and_writes_that_do_half_are_made_whole(shim))
    }),
    (
        "integration::faults::a_store_that_cannot_be_read_is_refused_and_not_taken_for_empty",
        |shim| Box::pin(a_store_that_cannot_be_read_is_refused_and_not_taken_for_empty(shim)),
    ),
];

/// Hosts whose disk fails at a random moment.
const ROUNDS: usize = 5;

/// After which a store that may go on has tried to, twice over.
const SEVERAL_TRIES: Duration = Duration::from_millis(2500);

/// Some moment of a burst of requests.
async fn some_moment() {
    sleep(Duration::from_micros(5_000 + u64::from(rand::random::<u16>()))).await;
}

/// After a failed sync nobody knows what the disk holds, and a second sync that succeeds says
/// nothing about what the first one dropped.
async fn a_failed_sync_stops_the_store_for_good_and_loses_nothing(
    shim: Arc<Shim>,
) -> anyhow::Result<()> {
    let stage = Stage::new(shim)?;
    stage.start_first().await?.kill().await?;
    for _ in 0..ROUNDS {
        let host = stage.start().await?;
        stage.all_are_there(&host).await?;
        let clients = stage.submit_until_refused(host.url());
        some_moment().await;
        stage.raise("sync")?;
        for client in clients {
            let told = timeout(Duration::from_secs(30), client).await??;
            ensure!(told == Some(StatusCode::SERVICE_UNAVAILABLE), "{told:?}");
        }
        let (ready, why) = stage.ready(&host).await?;
        ensure!(!ready && why["code"] == "store_unavailable", "{why}");
        stage.lower("sync")?;
        let failed = stage.made("sync");
        let until = Instant::now() + SEVERAL_TRIES;
        while Instant::now() < until {
            let told = stage.submit(host.url()).await?;
            ensure!(told == StatusCode::SERVICE_UNAVAILABLE, "{told}");
            let (ready, why) = stage.ready(&host).await?;
            ensure!(!ready, "{why}");
        }
        ensure!(stage.made("sync") == failed, "it was tried again");
        stage.all_are_there(&host).await?;
        host.kill().await?;
    }
    let host = stage.start().await?;
    let jobs = stage.all_are_completed(&host).await?;
    println!("{ROUNDS} stores stopped by a failed sync, {jobs} jobs acknowledged and completed");
    Ok(())
}

async fn writes_without_room_are_refused_until_there_is_room(
    shim: Arc<Shim>,
) -> anyhow::Result<()> {
    let stage = Stage::new(shim)?;
    let host = stage.start_first().await?;
    for _ in 0..ROUNDS {
        let clients = stage.submit_until_refused(host.url());
        some_moment().await;
        stage.raise("full")?;
        for client in clients {
            let told = timeout(Duration::from_secs(30), client).await??;
            ensure!(told == Some(StatusCode::SERVICE_UNAVAILABLE), "{told:?}");
        }
        let (ready, why) = stage.ready(&host).await?;
        ensure!(!ready && why["reason"].to_string().contains("full"), "{why}");
        stage.lower("full")?;
        let accepted = async {
            while stage.submit(host.url()).await? != StatusCode::ACCEPTED {
                sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(30), accepted).await??;
        stage.all_are_there(&host).await?;
    }
    host.kill().await?;
    let host = stage.start().await?;
    let jobs = stage.all_are_completed(&host).await?;
    println!("{ROUNDS} times no room, {} writes, {jobs} jobs completed", stage.made("full"));
    Ok(())
}

async fn reads_and_writes_that_do_half_are_made_whole(shim: Arc<Shim>) -> anyhow::Result<()> {
    let stage = Stage::new(shim)?;
    stage.raise("short")?;
    let host = stage.start_first().await?;
    for _ in 0..30 {
        ensure!(stage.submit(host.url()).await? == StatusCode::ACCEPTED);
    }
    host.kill().await?;
    let host = stage.start().await?;
    stage.all_are_completed(&host).await?;
    ensure!(stage.made("short") > 100, "only {} calls were cut short", stage.made("short"));
    Ok(())
}

async fn a_store_that_cannot_be_read_is_refused_and_not_taken_for_empty(
    shim: Arc<Shim>,
) -> anyhow::Result<()> {
    let stage = Stage::new(shim)?;
    let host = stage.start_first().await?;
    for _ in 0..20 {
        let job = json!({ "plugin": "echo", "delay_ms": 3_600_000 });
        let answer = stage.post(&host, &job).await?.error_for_status()?;
        let job: serde_json::Value = answer.json().await?;
        stage.acknowledged(format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_default()));
    }
    host.kill().await?;
    stage.raise("read")?;
    let mut command = jobwright(["serve", "--listen", "127.0.0.1:0", "--data"])?;
    command.arg(stage.data.path()).envs(stage.environment());
    let output = timeout(Duration::from_secs(30), command.output()).await??;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{:?}: {message}", output.status);
    ensure!(message.contains("job store") && message.contains("jobs.db"), "{message}");
    ensure!(message.contains("I/O") || message.contains("Input/output error"), "{message}");
    stage.lower("read")?;
    let host = stage.start().await?;
    ensure!(stage.all_are_there(&host).await? == 20);
    Ok(())
}
