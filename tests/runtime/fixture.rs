//! A runtime with plugins in memory, and the WebAssembly text that guests are written in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use bytes::Bytes;
use jobwright::runtime::RuntimeConfig;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId, JobSpec, Payload};
use jobwright_core::limits::{Limit, Limits};
use jobwright_core::outcome::{AttemptError, Outcome, Usage};
use jobwright_core::plugin::{Digest, Plugin, PluginName, PluginSettings, Version};
use jobwright_core::registry::{Published, RegistryError, Upload};
use jobwright_core::report::ProgressReporter;
use jobwright_core::runtime::{Ended, Stop, StopReason};
use jobwright_core::store::StoreError;
use jobwright_core::{
    Attempt, Capabilities, Lifecycle, LogBuffer, PluginRegistry, Runtime, Start, TenantName,
};

/// The functions that the guests below import, and a memory of one page.
pub(crate) const WASI: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get"
        (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_res_get"
        (func $resolution (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    ;; Writes `len` bytes at `at` to the descriptor `fd`; uses the first 16 bytes of memory.
    (func $write (param $fd i32) (param $at i32) (param $len i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $len))
        (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
"#;

/// A module with [`WASI`], whose `_start` is `body`, after `rest`.
pub(crate) fn command(rest: &str, body: &str) -> String {
    format!("(module {WASI} {rest} (func (export \"_start\") {body}))")
}

/// A guest that never ends.
pub(crate) const SPIN: &str = "(loop $again (br $again))";

/// A guest that sleeps for an hour in one host call.
pub(crate) const SLEEP: &str = r"
    (i64.store (i32.const 64) (i64.const 0))
    (i32.store8 (i32.const 72) (i32.const 0))
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (i64.const 3600000000000))
    (drop (call $poll (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 512)))";

/// A runtime and its plugins.
pub(crate) struct RuntimeFixture {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) plugins: Arc<Plugins>,
}

impl RuntimeFixture {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with(small())
    }

    pub(crate) fn with(config: RuntimeConfig) -> anyhow::Result<Self> {
        Self::started(jobwright_tests::is_isolated(), config)
    }

    /// A fixture that runs each attempt in a process of its own, in every test.
    pub(crate) fn in_processes(config: RuntimeConfig) -> anyhow::Result<Self> {
        Self::started(true, config)
    }

    fn started(in_processes: bool, config: RuntimeConfig) -> anyhow::Result<Self> {
        let plugins = Arc::new(Plugins::default());
        let runtime = jobwright::runtime::start(in_processes, config, plugins.clone())?;
        Ok(Self { runtime, plugins })
    }

    /// An attempt at a job of the plugin `text`.
    pub(crate) fn attempt(&self, text: &str) -> anyhow::Result<Attempt> {
        attempt(self.plugins.add(wat::parse_str(text)?))
    }

    /// Runs an attempt without stopping it.
    pub(crate) async fn run(&self, attempt: Attempt) -> Ended {
        let (_stop, signal) = Stop::new();
        self.runtime.run(attempt, signal).await
    }

    /// Runs an attempt whose guest logs when it runs, and stops it then.
    pub(crate) async fn stop(&self, attempt: Attempt, reason: StopReason) -> Stopped {
        let (log, report) = (attempt.log.clone(), attempt.report.clone());
        let (stop, signal) = Stop::new();
        let told = async {
            while log.written() == 0 {
                tokio::task::yield_now().await;
            }
            stop.raise(reason);
        };
        let (ended, ()) = tokio::join!(self.runtime.run(attempt, signal), told);
        Stopped { ended, report }
    }

    /// Runs the plugin `text` with the default limits as changed by `change`.
    pub(crate) async fn try_with(
        &self,
        text: &str,
        change: impl FnOnce(&mut Limits),
    ) -> anyhow::Result<Ended> {
        self.try_wasm(wat::parse_str(text)?, change).await
    }

    /// As [`try_with`](Self::try_with), for a binary plugin.
    pub(crate) async fn try_wasm(
        &self,
        wasm: Vec<u8>,
        change: impl FnOnce(&mut Limits),
    ) -> anyhow::Result<Ended> {
        let mut attempt = attempt(self.plugins.add(wasm))?;
        change(&mut attempt.limits);
        Ok(self.run(attempt).await)
    }
}

/// An attempt that was stopped, and its last progress and checkpoint.
pub(crate) struct Stopped {
    pub(crate) ended: Ended,
    pub(crate) report: Arc<ProgressReporter>,
}

/// Few slots, because tests run in parallel.
pub(crate) fn small() -> RuntimeConfig {
    RuntimeConfig { slots: 8, guest_threads: 2, ..RuntimeConfig::default() }
}

/// An attempt at a job of the plugin `digest`.
pub(crate) fn attempt(digest: Digest) -> anyhow::Result<Attempt> {
    let created_at = Timestamp::from_second(1_767_225_600)?;
    let limits = Limits { timeout_ms: 20_000, ..Limits::DEFAULT };
    let spec = JobSpec { limits, ..JobSpec::new("probe".parse()?, "1.0.0".parse()?, digest) };
    let mut lifecycle = Lifecycle::new(created_at);
    lifecycle.claim(created_at);
    let id = JobId::new(created_at);
    let job = Job {
        id,
        spec: Arc::new(spec),
        created_at,
        lifecycle,
        attempts: vec![],
        output: None,
        progress: None,
    };
    let log = Arc::new(LogBuffer::new(limits.log_bytes));
    let report = Arc::new(ProgressReporter::new(None, limits.checkpoint_bytes));
    let start = Start::of_job(job.id, job.created_at);
    let (payload, granted) = (Payload::default(), Capabilities::nothing(&log));
    Ok(Attempt { job, limits, payload, log, report, granted, start })
}

/// The output of an attempt that succeeded.
pub(crate) fn output(ended: &Ended) -> anyhow::Result<Bytes> {
    match &ended.outcome {
        Outcome::Succeeded { output } => Ok(output.bytes.clone()),
        other => bail!("it did not succeed: {other:?}"),
    }
}

/// The error of an attempt that reached `limit`, without the hint how to raise it, which every message must
/// have.
pub(crate) fn exceeded(ended: &Ended, limit: Limit) -> anyhow::Result<AttemptError> {
    match &ended.outcome {
        Outcome::LimitExceeded { limit: found, error } if *found == limit => {
            let remedy = format!("; {}", limit.remedy());
            let happened = error.message.strip_suffix(&remedy).context("how to raise it")?;
            Ok(AttemptError { message: happened.to_owned(), ..error.clone() })
        }
        other => bail!("it did not reach its {limit} limit: {other:?}"),
    }
}

/// The error of an attempt that trapped.
pub(crate) fn trapped(ended: &Ended) -> anyhow::Result<AttemptError> {
    match &ended.outcome {
        Outcome::Trapped { error } => Ok(error.clone()),
        other => bail!("it did not trap: {other:?}"),
    }
}

/// Whether the receipt has the guest's usage. It has none if the process was killed because it did not
/// respond in time on a busy machine.
pub(crate) fn is_measured(ended: &Ended) -> bool {
    let Usage { fuel, cpu_ms, .. } = ended.usage;
    let was_killed = jobwright_tests::is_isolated() && fuel.is_none() && cpu_ms == 0.0;
    was_killed || (fuel > Some(0) && cpu_ms > 0.0)
}

/// The log of an attempt, as text.
pub(crate) fn text(log: &LogBuffer) -> String {
    String::from_utf8_lossy(&log.snapshot().bytes).into_owned()
}

/// A registry that only has the bytes of plugins.
#[derive(Debug, Default)]
pub(crate) struct Plugins {
    bytes: Mutex<HashMap<Digest, Result<Bytes, String>>>,
    reads: AtomicUsize,
}

impl Plugins {
    pub(crate) fn add(&self, wasm: Vec<u8>) -> Digest {
        let digest = Digest::of(&wasm);
        self.lock().insert(digest, Ok(wasm.into()));
        digest
    }

    /// Makes reading `digest` fail with `reason`; with `panic` it panics, with `never` it does not return.
    pub(crate) fn fail(&self, digest: Digest, reason: &str) {
        self.lock().insert(digest, Err(reason.to_owned()));
    }

    /// Replaces the bytes of `digest` by others.
    pub(crate) fn corrupt(&self, digest: Digest) {
        self.lock().insert(digest, Ok(Bytes::from_static(b"rot")));
    }

    /// How often bytes were read.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Result<Bytes, String>>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl PluginRegistry for Plugins {
    async fn wasm(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let found = self.lock().get(digest).cloned();
        match found {
            None => Ok(None),
            Some(Ok(wasm)) if Digest::of(&wasm) == *digest => Ok(Some(wasm)),
            Some(Ok(wasm)) => {
                Err(RegistryError::Corrupt { digest: *digest, found: Digest::of(&wasm) })
            }
            Some(Err(reason)) if reason == "panic" => panic!("on purpose"),
            Some(Err(reason)) if reason == "never" => std::future::pending().await,
            Some(Err(reason)) => Err(RegistryError::Io {
                action: "read a plugin".to_owned(),
                source: std::io::Error::other(reason),
            }),
        }
    }

    async fn publish(&self, _: Upload, _: Timestamp) -> Result<Published, RegistryError> {
        Err(RegistryError::Full { held: 0 })
    }

    async fn get(&self, _: &TenantName, _: &PluginName) -> Result<Option<Arc<Plugin>>, StoreError> {
        Ok(None)
    }

    async fn list(
        &self,
        _: &TenantName,
        _: Option<&PluginName>,
        _: usize,
    ) -> Result<Vec<Arc<Plugin>>, StoreError> {
        Ok(vec![])
    }

    async fn configure(
        &self,
        _: &TenantName,
        _: &PluginName,
        _: PluginSettings,
    ) -> Result<Option<Plugin>, RegistryError> {
        Ok(None)
    }

    async fn remove(
        &self,
        _: &TenantName,
        _: &PluginName,
        _: Option<&Version>,
    ) -> Result<bool, RegistryError> {
        Ok(false)
    }
}

/// A little-endian number in an output.
pub(crate) fn number(bytes: &[u8], at: usize) -> anyhow::Result<u64> {
    let bytes = bytes.get(at..at + 8).context("the output is too short")?;
    Ok(u64::from_le_bytes(bytes.try_into()?))
}
