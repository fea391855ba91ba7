//! How a host stops.

use std::time::Duration;

use anyhow::ensure;
use jobwright_core::job::JobState;
use jobwright_core::outcome::OutcomeKind;
use jobwright_core::runtime::StopReason;
use jobwright_core::{Clock as _, JobReads as _};
use jobwright_tests::{DEADLINE, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::Stage;

pub fn trials() -> Vec<Trial> {
    tests![
        a_host_that_stops_is_not_ready_and_keeps_what_it_is_given_for_its_next_start,
        a_running_job_gets_the_grace_period_and_nothing_new_begins,
        what_the_grace_period_does_not_see_end_is_released_without_burning_an_attempt,
    ]
}

async fn a_running_job_gets_the_grace_period_and_nothing_new_begins() -> anyhow::Result<()> {
    let stage = Stage::new(|config| config.workers = std::num::NonZeroU32::MIN).await?;
    let running = stage.submit(json!({})).await?;
    let waiting = stage.submit(json!({})).await?;
    let attempt = stage.begins().await?;
    let Stage { host, runtime, clock, store } = stage;
    let stopping = tokio::spawn(host.stop());
    // If the attempt asks it hears of the end, but it is not told to stop, and ends by itself.
    let heard = async {
        while attempt.stop.noticed() != Some(StopReason::Interrupted) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, heard).await?;
    ensure!(attempt.stop.raised().is_none());
    attempt.succeed();
    stopping.await??;
    ensure!(runtime.begun().await.is_none(), "a new attempt began");
    let state = async |id: &str| -> anyhow::Result<_> {
        let job = store.get(id.parse()?).await?;
        Ok(job.map(|job| job.lifecycle.state))
    };
    ensure!(state(&running).await? == Some(JobState::Completed));
    ensure!(state(&waiting).await? == Some(JobState::Available));
    ensure!(!store.counts(clock.now()).await?.is_empty());
    Ok(())
}

async fn a_host_that_stops_is_not_ready_and_keeps_what_it_is_given_for_its_next_start()
-> anyhow::Result<()> {
    let Stage { host, runtime, clock: _, store } = Stage::new(|_| {}).await?;
    host.submit(json!({ "plugin": "p" })).await?;
    let attempt = runtime.next().await?;
    let (http, url) = (reqwest::Client::new(), format!("http://{}", host.address()));
    let ready = async || http.get(format!("{url}/readyz")).send().await;
    ensure!(ready().await?.status() == 200);
    let stopping = tokio::spawn(host.stop());
    let told = loop {
        let answer = ready().await?;
        if answer.status() != 200 {
            break answer;
        }
    };
    ensure!(told.status() == 503);
    let told: serde_json::Value = told.json().await?;
    ensure!(told["code"] == "stopping", "{told}");
    let job = http.post(format!("{url}/v1/jobs?plugin=p")).send().await?;
    ensure!(job.status() == 202, "{job:?}");
    let job: serde_json::Value = job.json().await?;
    attempt.succeed();
    stopping.await??;
    ensure!(runtime.begun().await.is_none(), "it waits for the next start");
    let id = job["id"].as_str().unwrap_or_default().parse()?;
    let kept = store.get(id).await?.ok_or_else(|| anyhow::anyhow!("the job is known"))?;
    ensure!(kept.lifecycle.state == JobState::Available);
    Ok(())
}

async fn what_the_grace_period_does_not_see_end_is_released_without_burning_an_attempt()
-> anyhow::Result<()> {
    let grace = Duration::from_millis(10);
    let stage = Stage::new(|config| config.shutdown_grace = grace).await?;
    let id = stage.submit(json!({})).await?;
    let mut attempt = stage.begins().await?;
    let Stage { host, store, .. } = stage;
    let stopping = tokio::spawn(host.stop());
    ensure!(attempt.stop.wait().await == StopReason::Interrupted);
    stopping.await??;
    let job = store.get(id.parse()?).await?;
    let job = job.ok_or_else(|| anyhow::anyhow!("the job is known"))?;
    ensure!((job.lifecycle.state, job.lifecycle.failures) == (JobState::Available, 0), "{job:?}");
    ensure!(job.attempts[0].outcome == OutcomeKind::Interrupted);
    Ok(())
}
