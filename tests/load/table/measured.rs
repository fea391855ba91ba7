//! The host that is measured: the real program, on a data directory of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, guests};
use reqwest::{Client, RequestBuilder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::generator::JOB;
use super::{percent, proc, scaled};
use crate::load::{push, queue, until_idle};

/// A module that returns at once, without memory and imports.
const NOOP: &str = r#"(module (func (export "_start")))"#;

/// The history that is kept, of about 1 KiB a job: large enough that its indexes have several levels,
/// small enough that it is full in half a minute.
const HISTORY_BYTES: u64 = 128 << 20;

/// Finalized jobs that fill any history of [`HISTORY_BYTES`].
const HISTORY_JOBS: usize = 1_000_000;

/// The jobs of a batch: the most that a host accepts.
const BATCH: usize = 1_000;

/// What is configured; room for the jobs of all measurements in one queue.
fn config(history_bytes: u64) -> String {
    format!(
        "[queue]\ncapacity = 400_000\nparked_capacity = 400_000\ntotal = 400_000\n\
         [disk]\nhistory_bytes = {history_bytes}\n"
    )
}

/// A directory whose history is at its bound, copied by each test that needs one.
static PREPARED: Mutex<Option<TempDir>> = Mutex::const_new(None);

pub(super) fn remove_prepared() {
    drop(PREPARED.blocking_lock().take());
}

/// Processor time that a host has used.
#[derive(Clone, Copy)]
pub(super) struct Used {
    pub(super) writer: Duration,
    pub(super) process: Duration,
}

pub(super) struct MeasuredHost {
    host: HostProcess,
    http: Client,
    folder: TempDir,
}

impl MeasuredHost {
    /// A host on a new data directory, with nothing uploaded.
    pub(super) async fn empty() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
        // The default retention limits exceed what any measurement leaves.
        std::fs::write(folder.path().join("config.toml"), config(4 << 30))?;
        Self::start(folder).await
    }

    /// A host on a new data directory, with the plugin.
    pub(super) async fn fresh() -> anyhow::Result<Self> {
        let host = Self::empty().await?;
        host.push().await?;
        Ok(host)
    }

    /// A host whose history is at its bound.
    pub(super) async fn at_the_bound() -> anyhow::Result<Self> {
        let mut prepared = PREPARED.lock().await;
        if prepared.is_none() {
            *prepared = Some(filled().await?);
        }
        let prepared = prepared.as_ref().context("it was prepared")?;
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
        let (from, to) = (prepared.path().join("."), folder.path());
        let copied = Command::new("cp").arg("-a").args([from.as_path(), to]).status().await?;
        ensure!(copied.success(), "cannot copy the prepared directory: {copied}");
        let host = Self::start(folder).await?;
        host.run_one().await?;
        Ok(host)
    }

    async fn start(folder: TempDir) -> anyhow::Result<Self> {
        let host = process(folder.path()).await?;
        let measured = Self { host, http: Client::new(), folder };
        measured.until_ready().await?;
        Ok(measured)
    }

    /// Kills it, and starts another on the same data.
    pub(super) async fn killed_and_started(self) -> anyhow::Result<Self> {
        let Self { host, folder, .. } = self;
        host.kill().await?;
        Self::start(folder).await
    }

    pub(super) async fn push(&self) -> anyhow::Result<()> {
        push(&self.host, "noop", guests::assemble(NOOP)?).await?;
        self.run_one().await
    }

    /// Runs one job, so that the code is loaded.
    async fn run_one(&self) -> anyhow::Result<()> {
        self.post("/v1/jobs").body(JOB).send().await?.error_for_status()?;
        self.until_idle().await
    }

    pub(super) fn url(&self) -> &str {
        self.host.url()
    }

    fn post(&self, path: &str) -> RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.url()));
        request.header("content-type", "application/json")
    }

    /// Starts no more jobs.
    pub(super) async fn pause(&self) -> anyhow::Result<()> {
        self.post("/v1/queues/default/pause").send().await?.error_for_status()?;
        Ok(())
    }

    pub(super) async fn resume(&self) -> anyhow::Result<()> {
        self.post("/v1/queues/default/resume").send().await?.error_for_status()?;
        Ok(())
    }

    /// Submits `count` jobs in batches, one after the other.
    pub(super) async fn enqueue(&self, count: usize) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 {
            let jobs = left.min(BATCH);
            let body = format!("[{}]", vec![JOB; jobs].join(","));
            let sent = self.post("/v1/jobs/batch").body(body).send().await?.error_for_status()?;
            let answer = sent.bytes().await?;
            // Each is answered; a failed one has no id.
            let ids = answer.windows(5).filter(|part| part == b"\"id\":").count();
            ensure!(ids == jobs, "of {jobs} jobs {ids} were accepted");
            left -= jobs;
        }
        Ok(())
    }

    pub(super) async fn until_idle(&self) -> anyhow::Result<()> {
        until_idle(&self.host).await
    }

    /// How many jobs are queued.
    pub(super) async fn depth(&self) -> anyhow::Result<Option<u64>> {
        Ok(queue(&self.host, &self.http).await?["depth"].as_u64())
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let url = format!("{}/readyz", self.url());
        while !self.http.get(&url).send().await?.status().is_success() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    pub(super) fn used(&self) -> anyhow::Result<Used> {
        let id = self.id()?;
        let writer = proc::time_of_thread(id, "jobs-writer")?;
        Ok(Used { writer, process: proc::time_of_process(id)? })
    }

    /// The memory of the host, in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        proc::memory(self.id()?)
    }

    fn id(&self) -> anyhow::Result<u32> {
        self.host.id().context("the host has ended")
    }
}

async fn process(folder: &Path) -> anyhow::Result<HostProcess> {
    let config = folder.join("config.toml");
    let config = config.to_str().context("a path in UTF-8")?;
    HostProcess::start(&folder.join("data"), &["--config", config]).await
}

/// A directory in which as many jobs have been run as the history has room for, and some more.
async fn filled() -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let bytes = HISTORY_BYTES * u64::from(percent()) / 100;
    std::fs::write(folder.path().join("config.toml"), config(bytes))?;
    let host = MeasuredHost::start(folder).await?;
    host.push().await?;
    let first = host.post("/v1/jobs").body(JOB).send().await?.error_for_status()?;
    let first: Value = first.json().await?;
    let first = format!("{}/v1/jobs/{}", host.url(), first["id"].as_str().context("no id")?);
    let mut jobs = 0;
    // The first job of all is removed when there is no more room.
    while host.http.get(&first).send().await?.status().is_success() {
        ensure!(jobs < HISTORY_JOBS, "{jobs} jobs do not fill {bytes} bytes of history");
        let more = scaled(10_000);
        host.enqueue(more).await?;
        host.until_idle().await?;
        jobs += more;
    }
    println!("history at its bound: {bytes} bytes, reached after {jobs} jobs");
    let id = i32::try_from(host.id()?).ok().and_then(Pid::from_raw).context("a process")?;
    kill_process(id, Signal::TERM)?;
    host.host.ended().await?;
    Ok(host.folder)
}
