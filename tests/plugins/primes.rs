//! A long job, as a command and as a component, on a host of its own: it reports progress, can be
//! cancelled, and continues from its checkpoint when the host is started again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::TestHost;
use serde_json::json;

use super::fixture::{Fixture, Of};

pub(super) fn trials(fixture: &Arc<Fixture>) -> Vec<Of> {
    let forms = ["primes", "primes-component"];
    let trials = forms.map(|form| {
        let cancelled = move |fixture| cancelled(fixture, form);
        let resumed = move |fixture| resumed(fixture, form);
        let name = |what: &str| format!("{}_{what}", form.replace('-', "_"));
        [
            fixture.trial(&name("tells_its_progress_and_can_be_cancelled"), cancelled),
            fixture.trial(&name("goes_on_from_its_checkpoint_when_its_host_is_back"), resumed),
        ]
        .map(|trial| (form.to_owned(), trial))
    });
    trials.into_iter().flatten().collect()
}

async fn cancelled(fixture: Arc<Fixture>, form: &str) -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("primes", std::fs::read(fixture.wasm(form)?)?).await?;
    // Hours of work.
    let id =
        host.submit(json!({ "plugin": "primes", "payload": { "up_to": 1e12 as u64 } })).await?;
    let first = progress_beyond(&host, &id, 0.0).await?;
    let second = progress_beyond(&host, &id, first).await?;
    ensure!(first < second && second < 0.1, "{first} {second}");
    host.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await?.error_for_status()?;
    let job = host.finalized(&id).await?;
    ensure!(job["state"] == "cancelled" && job["attempts"][0]["outcome"] == "cancelled", "{job}");
    // The guest stopped by itself.
    let log = host.log(&id).await?;
    ensure!(log.contains("stopped at "), "{log}");
    host.stop().await?;
    Ok(())
}

/// Waits until the progress of a running job is above `least`; returns it.
async fn progress_beyond(host: &TestHost, id: &str, least: f64) -> anyhow::Result<f64> {
    loop {
        let job = host.job(id).await?;
        ensure!(job["finalized_at"].is_null(), "{job}");
        match job["progress"]["fraction"].as_f64() {
            Some(fraction) if fraction > least => {
                let message = job["progress"]["message"].as_str().unwrap_or_default();
                ensure!(job["state"] == "running" && message.ends_with(" primes"), "{job}");
                return Ok(fraction);
            }
            _ => tokio::task::yield_now().await,
        }
    }
}

async fn resumed(fixture: Arc<Fixture>, form: &str) -> anyhow::Result<()> {
    let host =
        TestHost::configured(|config| config.shutdown_grace = Duration::from_millis(50)).await?;
    host.push("primes", std::fs::read(fixture.wasm(form)?)?).await?;
    let job = json!({ "plugin": "primes", "payload": { "up_to": 500_000_000 } });
    let id = host.submit(job).await?;
    progress_beyond(&host, &id, 0.0).await?;
    let host = TestHost::on(host.stop().await?, |_| {}).await?;
    let job = host.finalized(&id).await?;
    ensure!(job["output"]["primes"] == 26_355_867 && job["output"]["twins"] == 1_840_170, "{job}");
    let outcomes: Vec<_> = (0..2).map(|nth| &job["attempts"][nth]["outcome"]).collect();
    ensure!(outcomes == ["interrupted", "succeeded"] && job["failures"] == 0, "{job}");
    // The log is that of the second attempt.
    ensure!(continued(&host.log(&id).await?)? > 0);
    host.stop().await?;
    Ok(())
}

/// The number from which the attempt continued, according to its log.
fn continued(log: &str) -> anyhow::Result<u64> {
    let (_, place) = log.split_once("attempt 2 goes on at ").context("it went on")?;
    Ok(place.trim().parse()?)
}
