//! The runtime, called as the dispatcher calls it.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use jobwright::registry::DiskRegistry;
use jobwright::runtime::{self, Allocator, RuntimeConfig};
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId, JobSpec, Payload};
use jobwright_core::outcome::Outcome;
use jobwright_core::plugin::Digest;
use jobwright_core::report::ProgressReporter;
use jobwright_core::runtime::Stop;
use jobwright_core::{
    Attempt, Capabilities, Lifecycle, Limits, LogBuffer, Runtime, Start, TenantName,
};
use tempfile::TempDir;

use crate::guests::PAYLOAD;

/// Enough for the guests' thread to be busy, few enough for the slots.
const AT_ONCE: u64 = 32;

/// The runtime, with one thread for guests, as the bare loop has.
pub(crate) struct Ours {
    runtime: Arc<dyn Runtime>,
    attempt: Attempt,
    /// Of the registry, which nothing is read from: the code is prepared.
    _folder: TempDir,
}

impl Ours {
    /// In this process, or with a process for each attempt in flight.
    pub(crate) async fn new(wasm: Vec<u8>, in_processes: bool) -> anyhow::Result<Self> {
        let digest = Digest::of(&wasm);
        let config = RuntimeConfig {
            guest_threads: 1,
            allocator: Allocator::Pooling,
            ..RuntimeConfig::default()
        };
        let folder = tempfile::tempdir()?;
        let registry = DiskRegistry::open(folder.path(), u64::MAX)?;
        let runtime = runtime::start(in_processes, config, Arc::new(registry))?;
        runtime.prepare(&TenantName::default(), digest, wasm.into()).await?;
        Ok(Self { runtime, attempt: attempt(digest)?, _folder: folder })
    }

    pub(crate) async fn run(&self) -> Bytes {
        let (_stop, signal) = Stop::new();
        match self.runtime.run(self.attempt.clone(), signal).await.outcome {
            Outcome::Succeeded { output } => output.bytes,
            other => panic!("{other:?}"),
        }
    }

    /// Runs `jobs` of them, [`AT_ONCE`] at a time.
    pub(crate) async fn run_many(self: &Arc<Self>, jobs: u64) {
        let stream = |number: u64| {
            let ours = self.clone();
            tokio::spawn(async move {
                for _ in 0..(jobs + number) / AT_ONCE {
                    black_box(ours.run().await);
                }
            })
        };
        let streams: Vec<_> = (0..AT_ONCE).map(stream).collect();
        for stream in streams {
            stream.await.expect("it does not panic");
        }
    }
}

fn attempt(digest: Digest) -> anyhow::Result<Attempt> {
    let created_at = Timestamp::UNIX_EPOCH;
    let spec = JobSpec::new("echo".parse()?, "1.0.0".parse()?, digest);
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
    let payload = Payload {
        content_type: Some("application/json".to_owned()),
        bytes: Bytes::from_static(PAYLOAD),
    };
    let log = Arc::new(LogBuffer::new(Limits::DEFAULT.log_bytes));
    let report = Arc::new(ProgressReporter::new(None, Limits::DEFAULT.checkpoint_bytes));
    let start = Start::of_job(job.id, job.created_at);
    let (limits, granted) = (Limits::DEFAULT, Capabilities::default());
    Ok(Attempt { job, limits, payload, log, report, granted, start })
}
