//! One attempt in the sandbox of a command, and what is shown of it.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::attempt::{Attempt, Start};
use jobwright_core::clock::{Clock as _, Timestamp};
use jobwright_core::job::{Job, JobId, JobSpec, Payload, Priority, QueueName};
use jobwright_core::lifecycle::Lifecycle;
use jobwright_core::limits::{LimitPolicy, LimitsRequest};
use jobwright_core::log::LogBuffer;
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_core::outside::Granted;
use jobwright_core::plugin::{PluginName, PluginVersion};
use jobwright_core::report::Report;
use jobwright_core::retry::RetryPolicy;
use jobwright_core::runtime::{Ended, Runtime as _, Stop, StopReason};
use jobwright_core::tenant::TenantName;
use serde_json::{Value, json};

use super::exit::{Ending, Fault};
use super::options::{CommandOptions, LimitOptions};
use super::receipt;
use super::sandbox::Sandbox;
use super::terminal::{self, Terminal, printable};
use crate::clock::SystemClock;

/// When a deterministic attempt is made: a time that no program takes for wrong.
const FIXED_SECOND: i64 = 946_684_800; // 2000-01-01T00:00:00Z

/// The first id of that time (RFC 9562, version 7).
const FIXED_ID: &str = "00dc6acf-ac00-7000-8000-000000000000";

/// What is asked of an attempt, whatever plugin it is of.
#[derive(Debug, clap::Args)]
pub(super) struct AttemptOptions {
    #[command(flatten)]
    command: CommandOptions,
    #[command(flatten)]
    limits: LimitOptions,
}

/// How an attempt went, and what it logged.
#[derive(Debug)]
pub(super) struct Made {
    ended: Ended,
    log: Arc<LogBuffer>,
}

impl AttemptOptions {
    /// Makes an attempt with the plugin `wasm`, which is of this `file`. Once `cancelled` is there,
    /// the attempt ends soon.
    pub(super) async fn make(
        &self,
        sandbox: &Sandbox,
        (file, wasm): (&Path, Bytes),
        payload: Payload,
        cancelled: impl Future,
    ) -> anyhow::Result<Made> {
        let name = name(file);
        let version = sandbox.publish(name.clone(), wasm).await?;
        let job = self.job(name, version)?;
        let start = if job.spec.deterministic {
            Start::of_job(job.id, job.created_at)
        } else {
            Start::new(rand::random(), job.created_at)
        };
        Ok(Made::of(sandbox, (job, start), payload, cancelled).await)
    }

    /// Whose clock and random bytes the attempt sees: of a deterministic one the same every time.
    fn identity(&self) -> (JobId, Timestamp) {
        let fixed = || Some((FIXED_ID.parse().ok()?, Timestamp::from_second(FIXED_SECOND).ok()?));
        let fixed = self.command.deterministic.then(fixed).flatten();
        fixed.unwrap_or_else(|| {
            let now = SystemClock.now();
            (JobId::new(now), now)
        })
    }

    fn job(&self, plugin: PluginName, found: PluginVersion) -> anyhow::Result<Job> {
        let (request, none) = (self.limits.request(), LimitsRequest::default());
        let minimum = found.inspection.minimum_memory_bytes;
        let limits = LimitPolicy::default().complete(request, none, minimum).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Fault::Data.says(faults.join("; "))
        })?;
        let asked = self.command.entrypoint.as_deref();
        let entrypoint = found
            .inspection
            .entrypoint(asked)
            .map_err(|fault| Fault::Data.says(format!("entrypoint: {fault}")))?;
        let env = self.command.variables()?;
        let (id, now) = self.identity();
        let mut lifecycle = Lifecycle::new(now);
        lifecycle.claim(now);
        let spec = JobSpec {
            tenant: TenantName::default(),
            plugin,
            version: found.version,
            digest: found.digest,
            queue: QueueName::default(),
            priority: Priority::default(),
            max_attempts: 1,
            limits,
            retry: RetryPolicy::default(),
            entrypoint,
            args: self.command.args.clone(),
            env,
            tags: vec![],
            deterministic: self.command.deterministic,
            output_type: None,
        };
        let (attempts, output, progress) = (vec![], None, None);
        Ok(Job { id, spec, created_at: now, lifecycle, attempts, output, progress })
    }
}

/// A file's name, as far as it is a plugin's name.
fn name(file: &Path) -> PluginName {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.to_ascii_lowercase().parse().or_else(|_| "plugin".parse());
    name.unwrap_or_else(|_| unreachable!("`plugin` is a plugin's name"))
}

/// Whether the guest wants another attempt, if it said how it failed; and after how long.
fn asked(outcome: &Outcome) -> (Option<bool>, Option<u128>) {
    match outcome {
        Outcome::Failed { retry: RetryHint::Never, .. } => (Some(false), None),
        Outcome::Failed { retry: RetryHint::Backoff, .. } => (Some(true), None),
        Outcome::Failed { retry: RetryHint::After(wait), .. } => {
            (Some(true), Some(wait.as_millis()))
        }
        _ => (None, None),
    }
}

impl Made {
    /// Makes an attempt at `job` that begins at `start` and has nothing to go on from. Once
    /// `cancelled` is there, it ends soon.
    pub(super) async fn of(
        sandbox: &Sandbox,
        (job, start): (Job, Start),
        payload: Payload,
        cancelled: impl Future,
    ) -> Self {
        let limits = job.spec.limits;
        let log = Arc::new(LogBuffer::new(limits.log_bytes));
        let report = Arc::new(Report::new(None, limits.checkpoint_bytes));
        let granted = Granted::default();
        let attempt = Attempt { job, limits, payload, log: log.clone(), report, granted, start };
        let (stop, signal) = Stop::new();
        let run = sandbox.runtime.run(attempt, signal);
        tokio::pin!(run);
        let ended = tokio::select! {
            ended = &mut run => ended,
            _ = cancelled => {
                stop.raise(StopReason::Cancelled);
                run.await
            }
        };
        Self { ended, log }
    }

    pub(super) fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Output to stdout; log, outcome and receipt to stderr.
    pub(super) fn show(&self, terminal: &Terminal) -> anyhow::Result<Ending> {
        self.write_log()?;
        if terminal.is_json() {
            writeln!(std::io::stderr(), "{}", self.receipt())?;
        } else {
            self.write_receipt(&mut std::io::stderr().lock())?;
        }
        self.write_output()?;
        Ok(match self.ended.outcome {
            Outcome::Succeeded { .. } => Ending::Done,
            Outcome::Cancelled => Ending::JobCancelled,
            _ => Ending::JobFailed,
        })
    }

    /// The log, to stderr; what follows begins on a line of its own.
    pub(super) fn write_log(&self) -> io::Result<()> {
        let (log, mut out) = (self.log.snapshot().bytes, io::stderr());
        terminal::write_foreign(&log, &mut out)?;
        let is_open = !out.is_terminal() && log.last().is_some_and(|last| *last != b'\n');
        if is_open { writeln!(out) } else { Ok(()) }
    }

    /// The outcome and what it took, for a script.
    pub(super) fn receipt(&self) -> Value {
        let Ended { outcome, usage } = &self.ended;
        let (kind, limit, error) = (outcome.kind(), outcome.limit(), outcome.error());
        let (retry, retry_after_ms) = asked(outcome);
        json!({
            "outcome": kind, "limit": limit, "error": error,
            "retry": retry, "retry_after_ms": retry_after_ms, "usage": usage,
        })
    }

    /// The same for a person.
    pub(super) fn write_receipt(&self, notes: &mut dyn Write) -> io::Result<()> {
        let Ended { outcome, usage } = &self.ended;
        if let Some(error) = outcome.error() {
            writeln!(notes, "{}: {}", error.code, printable(&error.message))?;
            if let Some(frames) = &error.backtrace {
                writeln!(notes, "{}", printable(frames))?;
            }
        }
        let kind = receipt::words(outcome.kind());
        match asked(outcome) {
            (None, _) => writeln!(notes, "{kind}")?,
            (Some(false), _) => writeln!(notes, "{kind} for good")?,
            (Some(true), None) => writeln!(notes, "{kind}, and may be tried again")?,
            (Some(true), Some(ms)) => {
                writeln!(notes, "{kind}, and may be tried again after {} s", ms / 1000)?;
            }
        }
        receipt::write(usage, notes)
    }

    /// What a success left, to stdout.
    pub(super) fn write_output(&self) -> io::Result<()> {
        let Outcome::Succeeded { output } = &self.ended.outcome else { return Ok(()) };
        if terminal::is_binary_on_terminal(&output.bytes) {
            writeln!(std::io::stderr(), "the output is no text: send it to a file")
        } else {
            terminal::write_foreign(&output.bytes, &mut std::io::stdout())
        }
    }
}
