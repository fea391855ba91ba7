//! One host for all plugins, so that each is compiled once, however many samples it has.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use jobwright_plugins::{Plugins, Sample};
use jobwright_tests::{DEADLINE, TestHost};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

/// A test, and the plugin that it needs.
pub(super) type Of = (String, Trial);

/// The shared host; it is stopped with the last test that uses it.
pub(super) struct Fixture {
    pub(super) plugins: Plugins,
    /// A runtime of the fixture, because the host outlives the runtime of each test.
    runtime: Runtime,
    host: OnceCell<TestHost>,
    pushed: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

impl Fixture {
    pub(super) fn new(plugins: Plugins) -> anyhow::Result<Self> {
        let (host, pushed) = <_>::default();
        Ok(Self { plugins, runtime: Runtime::new()?, host, pushed })
    }

    /// A test that runs `body` with the host.
    pub(super) fn trial<F>(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Trial
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let fixture = self.clone();
        Trial::test(format!("plugins::{name}"), move || {
            let body = async { tokio::time::timeout(DEADLINE, body(fixture.clone())).await? };
            fixture.runtime.block_on(body).map_err(|error| format!("{error:#}").into())
        })
    }

    /// The host.
    pub(super) async fn host(&self) -> anyhow::Result<&TestHost> {
        self.host.get_or_try_init(TestHost::start).await
    }

    /// The path of the plugin.
    pub(super) fn wasm(&self, plugin: &str) -> anyhow::Result<&Path> {
        let missing = |reason| anyhow!("there is no {plugin}: {reason}");
        self.plugins.get(plugin).wasm().map_err(missing)
    }

    /// Uploads the plugin, once.
    pub(super) async fn push(&self, plugin: &str) -> anyhow::Result<()> {
        let cell = self.pushed.lock().await.entry(plugin.to_owned()).or_default().clone();
        let push = || async {
            let wasm = tokio::fs::read(self.wasm(plugin)?).await?;
            self.host().await?.push(plugin, wasm).await.map(drop)
        };
        cell.get_or_try_init(push).await.copied()
    }

    /// Runs a job of `payload` with one attempt; returns the finalized job, its log, and its output.
    pub(super) async fn run(
        &self,
        plugin: &str,
        args: &[String],
        payload: Vec<u8>,
    ) -> anyhow::Result<Ran> {
        let (host, id) = (self.host().await?, self.submit(plugin, args, payload).await?);
        let (job, log) = (host.finalized(&id).await?, host.log(&id).await?);
        let output = match job["output_url"].as_str() {
            Some(url) => host.get(url).await?.error_for_status()?.bytes().await?.to_vec(),
            None => vec![],
        };
        Ok(Ran { job, log, output })
    }

    /// As [`run`](Self::run), for a sample.
    pub(super) async fn run_sample(&self, plugin: &str, sample: &Sample) -> anyhow::Result<Ran> {
        self.run(plugin, &sample.args, std::fs::read(&sample.payload)?).await
    }

    /// Submits a deterministic job with one attempt; returns its id.
    async fn submit(
        &self,
        plugin: &str,
        args: &[String],
        payload: Vec<u8>,
    ) -> anyhow::Result<String> {
        self.push(plugin).await?;
        let args = args.iter().map(|arg| ("arg", arg.as_str()));
        let fixed = [("plugin", plugin), ("max_attempts", "1"), ("deterministic", "true")];
        let query: Vec<_> = fixed.into_iter().chain(args).collect();
        let request = self.host().await?.request(Method::POST, "/v1/jobs").query(&query);
        let job: Value = request.body(payload).send().await?.error_for_status()?.json().await?;
        Ok(job["id"].as_str().context("a job has an id")?.to_owned())
    }

    /// Runs and retries the job of a sample that fails: the returned job has two attempts.
    pub(super) async fn run_twice(&self, plugin: &str, sample: &Sample) -> anyhow::Result<Value> {
        let (host, payload) = (self.host().await?, std::fs::read(&sample.payload)?);
        let id = self.submit(plugin, &sample.args, payload).await?;
        host.finalized(&id).await?;
        let again = host.request(Method::POST, &format!("/v1/jobs/{id}/retry"));
        again.send().await?.error_for_status()?;
        host.finalized(&id).await
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(host) = self.host.take() {
            // Errors of the shutdown do not matter here.
            drop(self.runtime.block_on(host.stop()));
        }
    }
}

/// A finalized job with its log and output.
pub(super) struct Ran {
    pub(super) job: Value,
    pub(super) log: String,
    pub(super) output: Vec<u8>,
}

impl Ran {
    /// The record of the only attempt.
    pub(super) fn attempt(&self) -> &Value {
        &self.job["attempts"][0]
    }
}
