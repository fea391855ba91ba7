//! Each plugin many times, as users run it: with clocks and random numbers that differ each time.
//! A fault that depends on the first reading of a clock occurs in some attempts only, and in a release
//! build more often than in a debug build.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jobwright_plugins::Sample;
use jobwright_tests::TestHost;
use reqwest::Method;
use serde_json::Value;

use super::fixture::{Fixture, Of};
use super::samples::succeeding;

/// The number of jobs of each plugin; fewer in a debug build, which is slow.
const TIMES: usize = if cfg!(debug_assertions) { 10 } else { 100 };

/// Jobs in flight: more than the cores of most machines, so that attempts interrupt each other.
const AT_ONCE: usize = 8;

pub(super) fn trials(fixture: &Arc<Fixture>) -> Vec<Of> {
    let of = |plugin: &jobwright_plugins::Plugin| {
        let (name, sample) = (plugin.name.clone(), succeeding(plugin)?);
        let title = format!("repeated::{name}_succeeds_every_time");
        let body =
            move |fixture: Arc<Fixture>| async move { repeat(&fixture, &name, &sample).await };
        Some((plugin.name.clone(), fixture.trial(&title, body)))
    };
    fixture.plugins.iter().filter_map(of).collect()
}

async fn repeat(fixture: &Fixture, plugin: &str, sample: &Sample) -> anyhow::Result<()> {
    fixture.push(plugin).await?;
    let (host, payload) = (fixture.host().await?, std::fs::read(&sample.payload)?);
    let run = |_| run_once(host, plugin, &sample.args, payload.clone());
    stream::iter(0..TIMES).map(run).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

/// Runs one job with one attempt; fails unless it completes.
async fn run_once(
    host: &TestHost,
    plugin: &str,
    args: &[String],
    payload: Vec<u8>,
) -> anyhow::Result<()> {
    let args = args.iter().map(|arg| ("arg", arg.as_str()));
    let query: Vec<_> =
        [("plugin", plugin), ("max_attempts", "1")].into_iter().chain(args).collect();
    let request = host.request(Method::POST, "/v1/jobs").query(&query).body(payload);
    let job: Value = request.send().await?.error_for_status()?.json().await?;
    let id = job["id"].as_str().context("a job has an id")?;
    let job = host.finalized(id).await?;
    ensure!(job["state"] == "completed", "{job}\n{}", host.log(id).await?);
    Ok(())
}
