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

/// A trial, and the plugin that it needs.
pub(super) type Of = (String, Trial);

/// Goes with the last of the trials that share it.
pub(super) struct Stage {
    pub(super) plugins: Plugins,
    /// Not that of a trial, which the host outlives.
    runtime: Runtime,
    host: OnceCell<TestHost>,
    pushed: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

impl Stage {
    pub(super) fn new(plugins: Plugins) -> anyhow::Result<Self> {
        let (host, pushed) = <_>::default();
        Ok(Self { plugins, runtime: Runtime::new()?, host, pushed })
    }

    /// A trial that runs `body` beside the host.
    pub(super) fn trial<F>(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Trial
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let stage = self.clone();
        Trial::test(format!("plugins::{name}"), move || {
            let body = async { tokio::time::timeout(DEADLINE, body(stage.clone())).await? };
            stage.runtime.block_on(body).map_err(|error| format!("{error:#}").into())
        })
    }

    /// The host.
    pub(super) async fn host(&self) -> anyhow::Result<&TestHost> {
        self.host.get_or_try_init(TestHost::start).await
    }

    /// Where the plugin is.
    pub(super) fn wasm(&self, plugin: &str) -> anyhow::Result<&Path> {
        let missing = |reason| anyhow!("there is no {plugin}: {reason}");
        self.plugins.get(plugin).wasm().map_err(missing)
    }

    /// Uploads the plugin, if that was not done.
    pub(super) async fn push(&self, plugin: &str) -> anyhow::Result<()> {
        let cell = self.pushed.lock().await.entry(plugin.to_owned()).or_default().clone();
        let push = || async {
            let wasm = tokio::fs::read(self.wasm(plugin)?).await?;
            self.host().await?.push(plugin, wasm).await.map(drop)
        };
        cell.get_or_try_init(push).await.copied()
    }

    /// The finalized job of `payload`, which had one attempt; its log, and the output if it left any.
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

    /// The same for a sample.
    pub(super) async fn run_sample(&self, plugin: &str, sample: &Sample) -> anyhow::Result<Ran> {
        self.run(plugin, &sample.args, std::fs::read(&sample.payload)?).await
    }

    /// Submits a job that is deterministic and has one attempt; answers its id.
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

    /// The finalized job of a sample that fails, which was then retried: it has two attempts.
    pub(super) async fn run_twice(&self, plugin: &str, sample: &Sample) -> anyhow::Result<Value> {
        let (host, payload) = (self.host().await?, std::fs::read(&sample.payload)?);
        let id = self.submit(plugin, &sample.args, payload).await?;
        host.finalized(&id).await?;
        let again = host.request(Method::POST, &format!("/v1/jobs/{id}/retry"));
        again.send().await?.error_for_status()?;
        host.finalized(&id).await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(host) = self.host.take() {
            // It has done what it was for.
            drop(self.runtime.block_on(host.stop()));
        }
    }
}

/// What became of a job.
pub(super) struct Ran {
    pub(super) job: Value,
    pub(super) log: String,
    pub(super) output: Vec<u8>,
}

impl Ran {
    /// What is said of its only attempt.
    pub(super) fn attempt(&self) -> &Value {
        &self.job["attempts"][0]
    }
}
