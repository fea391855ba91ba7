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

use super::Fixture;

pub fn trials() -> Vec<Trial> {
    tests![
        a_stopping_host_is_not_ready_and_keeps_new_jobs_for_its_next_start,
        a_running_job_gets_the_grace_period_and_no_new_attempt_starts,
        attempts_that_outlast_the_grace_period_are_released_without_counting,
    ]
}

async fn a_running_job_gets_the_grace_period_and_no_new_attempt_starts() -> anyhow::Result<()> {
    let fixture = Fixture::new(|config| config.workers = std::num::NonZeroU32::MIN).await?;
    let running = fixture.submit(json!({})).await?;
    let waiting = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    let Fixture { host, runtime, clock, store } = fixture;
    let stopping = tokio::spawn(host.stop());
    // `is_cancelled` returns true for the attempt, but it is not stopped, and ends by itself.
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

async fn a_stopping_host_is_not_ready_and_keeps_new_jobs_for_its_next_start() -> anyhow::Result<()>
{
    let Fixture { host, runtime, clock: _, store } = Fixture::new(|_| {}).await?;
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

async fn attempts_that_outlast_the_grace_period_are_released_without_counting() -> anyhow::Result<()>
{
    let grace = Duration::from_millis(10);
    let fixture = Fixture::new(|config| config.shutdown_grace = grace).await?;
    let id = fixture.submit(json!({})).await?;
    let attempt = fixture.begins().await?;
    let Fixture { host, store, .. } = fixture;
    let stopping = tokio::spawn(host.stop());
    ensure!(attempt.stop.wait().await == StopReason::Interrupted);
    stopping.await??;
    let job = store.get(id.parse()?).await?;
    let job = job.ok_or_else(|| anyhow::anyhow!("the job is known"))?;
    ensure!((job.lifecycle.state, job.lifecycle.failures) == (JobState::Available, 0), "{job:?}");
    ensure!(job.attempts[0].outcome == OutcomeKind::Interrupted);
    Ok(())
}
