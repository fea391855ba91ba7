//! A host whose attempts run in processes of their own, and those processes as `/proc` shows them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, guests};
use reqwest::{Client, StatusCode};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The time limit for events that tests expect soon.
const SOON: Duration = Duration::from_secs(20);

/// A host with `--isolation process`.
pub(super) struct Isolated {
    pub(super) process: HostProcess,
    http: Client,
    data: TempDir,
}

/// The flags of the host.
const FLAGS: [&str; 2] = ["--isolation", "process"];

impl Isolated {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let process = HostProcess::start(data.path(), &FLAGS).await?;
        Ok(Self { process, http: Client::new(), data })
    }

    /// A host that leads a process group of its own.
    pub(super) async fn start_in_group() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let process = HostProcess::start_in_group(data.path(), &FLAGS).await?;
        Ok(Self { process, http: Client::new(), data })
    }

    /// A host that is not in root's group: see [`by_another`](jobwright_tests::by_another).
    pub(super) async fn start_by_another() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let process = HostProcess::start_by_another(data.path(), &FLAGS).await?;
        Ok(Self { process, http: Client::new(), data })
    }

    /// Waits until the host has exited successfully, and starts it again.
    pub(super) async fn started_again(self) -> anyhow::Result<Self> {
        let Self { process, http, data } = self;
        let end = process.ended().await?;
        ensure!(end.success(), "{end}");
        let process = HostProcess::start(data.path(), &FLAGS).await?;
        Ok(Self { process, http, data })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.process.url())
    }

    pub(super) async fn push(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.push_wasm(name, guests::assemble(text)?).await
    }

    pub(super) async fn push_wasm(&self, name: &str, wasm: Vec<u8>) -> anyhow::Result<()> {
        let url = self.url(&format!("plugins/{name}"));
        self.http.put(url).body(wasm).send().await?.error_for_status()?;
        Ok(())
    }

    /// Begins to upload a plugin of a tenant; the task returns the status.
    pub(super) fn upload(
        &self,
        tenant: &str,
        name: &str,
        wasm: Vec<u8>,
    ) -> JoinHandle<reqwest::Result<StatusCode>> {
        let put = self.http.put(self.url(&format!("plugins/{name}")));
        let sending = put.header("jobwright-tenant", tenant).body(wasm).send();
        tokio::spawn(async move { Ok(sending.await?.status()) })
    }

    /// How many plugins have been compiled.
    pub(super) fn compiled(&self) -> anyhow::Result<usize> {
        let files = std::fs::read_dir(self.data.path().join("compiled"))?.flatten();
        Ok(files.filter(|file| file.path().extension().is_some_and(|it| it == "bin")).count())
    }

    /// Gives a plugin these grants.
    pub(super) async fn grant(&self, name: &str, grants: Value) -> anyhow::Result<()> {
        let url = self.url(&format!("plugins/{name}"));
        let change = self.http.patch(url).json(&json!({ "grants": grants }));
        change.send().await?.error_for_status()?;
        Ok(())
    }

    /// Submits a job; returns its id.
    pub(super) async fn submit(&self, job: Value) -> anyhow::Result<String> {
        let answer = self.http.post(self.url("jobs")).json(&job).send().await?;
        let job: Value = answer.error_for_status()?.json().await?;
        Ok(job["id"].as_str().context("a job has an id")?.to_owned())
    }

    pub(super) async fn job(&self, id: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(self.url(&format!("jobs/{id}"))).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Waits until the job is finalized.
    pub(super) async fn finalized(&self, id: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(self.url(&format!("jobs/{id}?wait=60s"))).send().await?;
        let job: Value = answer.error_for_status()?.json().await?;
        ensure!(!job["finalized_at"].is_null(), "{job}");
        Ok(job)
    }

    /// Waits until the first attempt of the job has ended.
    pub(super) async fn tried(&self, id: &str) -> anyhow::Result<Value> {
        let since = Instant::now();
        loop {
            let job = self.job(id).await?;
            if job["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty()) {
                return Ok(job);
            }
            ensure!(since.elapsed() < SOON, "no attempt has ended: {job}");
        }
    }

    /// Waits until the job's guest has written to its log.
    pub(super) async fn heard(&self, id: &str) -> anyhow::Result<()> {
        let (since, url) = (Instant::now(), self.url(&format!("jobs/{id}/logs")));
        while self.http.get(&url).send().await?.bytes().await?.is_empty() {
            ensure!(since.elapsed() < SOON, "the guest has written nothing");
        }
        Ok(())
    }

    /// Starts a job of a guest that sleeps, and returns its id and the process that runs it: the only one,
    /// which exists from the start.
    pub(super) async fn sleeper(&self, limits: Value) -> anyhow::Result<(String, Runner)> {
        self.push("sleep", guests::SLEEP).await?;
        let id = self.submit(json!({ "plugin": "sleep", "limits": limits })).await?;
        self.heard(&id).await?;
        let runners = self.runners()?;
        ensure!(runners.len() == 1, "{runners:?}");
        Ok((id, runners.into_iter().next().context("a process runs the attempt")?))
    }

    /// The processes of the host that run attempts.
    pub(super) fn runners(&self) -> anyhow::Result<Vec<Runner>> {
        let host = self.process.id().context("the host has ended")?;
        let mut runners = vec![];
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let is_runner = is_runner_of(host, &path);
            if is_runner {
                runners.push(Runner(path));
            }
        }
        Ok(runners)
    }
}

/// Whether the process at `path` was started by `host` to run attempts; false if it has just ended.
fn is_runner_of(host: u32, path: &Path) -> bool {
    let text = |file| std::fs::read_to_string(path.join(file)).unwrap_or_default();
    text("status").lines().any(|line| line == format!("PPid:\t{host}"))
        && text("cmdline").split('\0').nth(1) == Some("run-attempts")
}

/// A process that runs attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Runner(PathBuf);

impl Runner {
    /// Its folder in `/proc`.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Suspends the process (`SIGSTOP`).
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        let id = self.0.file_name().and_then(|id| id.to_str()?.parse().ok());
        let id = id.and_then(Pid::from_raw).context("it has a number")?;
        match kill_process(id, Signal::STOP) {
            // The process has just ended.
            Err(Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Whether the process exists and is suspended.
    pub(super) fn is_stopped(&self) -> bool {
        std::fs::read_to_string(self.0.join("status")).is_ok_and(|it| it.contains("State:\tT"))
    }

    /// Sends a signal, given its name.
    pub(super) async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.0.file_name().context("it has a number")?;
        let mut kill = tokio::process::Command::new("kill");
        let sent = kill.arg(format!("-{signal}")).arg(id).status().await?;
        ensure!(sent.success(), "{sent}");
        Ok(())
    }

    /// Waits until the process has ended.
    pub(super) async fn gone(&self) -> anyhow::Result<()> {
        let since = Instant::now();
        // A zombie has no command line.
        while std::fs::read(self.0.join("cmdline")).is_ok_and(|line| !line.is_empty()) {
            ensure!(since.elapsed() < SOON, "{} is still there", self.0.display());
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
