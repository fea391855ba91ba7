//! Runs an attempt in the sandbox of a command, and prints its output, log and receipt.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::attempt::{Attempt, Start};
use jobwright_core::clock::Timestamp;
use jobwright_core::grant::Determinism;
use jobwright_core::job::{Job, JobId, JobSpec, Lifecycle, Payload};
use jobwright_core::limits::{LimitPolicy, Limits, LimitsRequest};
use jobwright_core::log::LogBuffer;
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_core::plugin::{Inspection, PluginName, PluginVersion};
use jobwright_core::report::ProgressReporter;
use jobwright_core::retry::{self, Backoff};
use jobwright_core::runtime::{Ended, Runtime as _, Stop, StopReason};
use jobwright_core::services::Capabilities;
use serde_json::{Value, json};

use super::exit::{Ending, Fault};
use super::exit_codes::ExitCodeOptions;
use super::grants::{GrantOptions, LocalGrants};
use super::options::{CommandOptions, LimitOptions, StackOptions};
use super::receipt;
use super::sandbox::Sandbox;
use super::terminal::{self, Terminal, printable};
use crate::clock;

/// The clock of deterministic attempts starts here: a time that no program rejects as implausible.
const FIXED_SECOND: i64 = 946_684_800; // 2000-01-01T00:00:00Z

/// The first UUID of that time (RFC 9562, version 7).
const FIXED_ID: &str = "00dc6acf-ac00-7000-8000-000000000000";

/// The options of an attempt that do not depend on the plugin.
#[derive(Debug, clap::Args)]
pub(super) struct AttemptOptions {
    #[command(flatten)]
    command: CommandOptions,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    stack: StackOptions,
    #[command(flatten)]
    exit_codes: ExitCodeOptions,
    #[command(flatten)]
    grants: GrantOptions,
}

/// The file of a plugin, and its bytes.
#[derive(Debug)]
pub(super) struct Wasm<'a> {
    pub(super) file: &'a Path,
    pub(super) bytes: Bytes,
}

/// What stands in for a host: the sandbox, and the host services that are granted. Several attempts can use it in
/// sequence.
pub(super) struct LocalHost {
    sandbox: Sandbox,
    grants: LocalGrants,
}

/// The outcome of an attempt, and its log.
#[derive(Debug)]
pub(super) struct AttemptResult {
    ended: Ended,
    log: Arc<LogBuffer>,
}

impl AttemptOptions {
    /// Opens the sandbox and the granted host services.
    pub(super) fn open(&self) -> anyhow::Result<LocalHost> {
        Ok(LocalHost { sandbox: Sandbox::open(self.stack)?, grants: self.grants.open()? })
    }

    /// Runs an attempt with `plugin` on `host`. The attempt is cancelled when `cancelled` completes.
    pub(super) async fn make(
        &self,
        host: &LocalHost,
        plugin: Wasm<'_>,
        payload: Payload,
        cancelled: impl Future,
    ) -> anyhow::Result<AttemptResult> {
        let LocalHost { sandbox, grants } = host;
        let name = name(plugin.file);
        let version = sandbox.publish(name.clone(), plugin.bytes).await?;
        let job = self.job(name, version, grants)?;
        let start = if job.spec.deterministic {
            Start::of_job(job.id, job.created_at)
        } else {
            Start::new(rand::random(), job.created_at)
        };
        let start = start.under(grants.grants());
        grants.load_values(&job).await?;
        let trial = LocalAttempt { job: job.clone(), start, payload, granting: Some(grants) };
        let made = AttemptResult::run(sandbox, trial, cancelled).await;
        grants.save_values(&job).await?;
        Ok(made)
    }

    /// The id and creation time of the job, from which its clock and random bytes derive. They are constant
    /// with `--deterministic`.
    fn identity(&self) -> (JobId, Timestamp) {
        let fixed = || Some((FIXED_ID.parse().ok()?, Timestamp::from_second(FIXED_SECOND).ok()?));
        let fixed = self.command.deterministic.then(fixed).flatten();
        fixed.unwrap_or_else(|| {
            let now = clock::wall();
            (JobId::new(now), now)
        })
    }

    /// The limits of a job of the plugin, which is as much as a host gives by default.
    fn limits(&self, plugin: &Inspection) -> anyhow::Result<Limits> {
        let (request, none) = (self.limits.request()?, LimitsRequest::default());
        let completed = LimitPolicy::default().complete(request, none, plugin.minimum_memory_bytes);
        completed.map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Fault::Data.failure(faults.join("; ")).into()
        })
    }

    fn job(
        &self,
        plugin: PluginName,
        found: PluginVersion,
        granting: &LocalGrants,
    ) -> anyhow::Result<Job> {
        let asked = self.command.entrypoint.as_deref();
        let entrypoint = found
            .inspection
            .entrypoint(asked)
            .map_err(|fault| Fault::Data.failure(format!("entrypoint: {fault}")))?;
        let env = self.command.variables()?;
        let (id, now) = self.identity();
        let mut lifecycle = Lifecycle::new(now);
        lifecycle.claim(now);
        let spec = JobSpec {
            max_attempts: 1,
            limits: self.limits(&found.inspection)?,
            entrypoint,
            args: self.command.args.clone(),
            env,
            deterministic: self.command.deterministic
                || granting.grants().deterministic == Determinism::Always,
            inject_env: !self.command.no_inject_env,
            exit_codes: self.exit_codes.codes()?,
            ..JobSpec::new(plugin, found.version, found.digest)
        };
        let (attempts, output, progress) = (vec![], None, None);
        Ok(Job { id, spec: Arc::new(spec), created_at: now, lifecycle, attempts, output, progress })
    }
}

/// The plugin name for `file`: its stem if that is a valid name, else `plugin`.
fn name(file: &Path) -> PluginName {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.to_ascii_lowercase().parse().or_else(|_| "plugin".parse());
    name.unwrap_or_else(|_| unreachable!("`plugin` is a valid name"))
}

/// Whether the guest requested a retry, if it reported how it failed, and the requested delay in
/// milliseconds.
fn retry_request(outcome: &Outcome) -> (Option<bool>, Option<u128>) {
    match outcome {
        Outcome::Failed { retry: RetryHint::Never, .. } => (Some(false), None),
        Outcome::Failed { retry: RetryHint::Backoff, .. } => (Some(true), None),
        Outcome::Failed { retry: RetryHint::After(wait), .. } => {
            (Some(true), Some(wait.as_millis()))
        }
        Outcome::Snoozed { wait, .. } => (Some(true), wait.map(|wait| wait.as_millis())),
        _ => (None, None),
    }
}

/// The arguments of [`AttemptResult::run`]. The attempt starts without a checkpoint.
pub(super) struct LocalAttempt<'a> {
    pub(super) job: Job,
    pub(super) start: Start,
    pub(super) payload: Payload,
    /// The grants; none if absent.
    pub(super) granting: Option<&'a LocalGrants>,
}

impl AttemptResult {
    /// Runs an attempt. It is cancelled when `cancelled` completes.
    pub(super) async fn run(
        sandbox: &Sandbox,
        trial: LocalAttempt<'_>,
        cancelled: impl Future,
    ) -> Self {
        let LocalAttempt { job, start, payload, granting } = trial;
        let (limits, lifecycle) = (job.spec.limits, job.lifecycle.clone());
        let log = Arc::new(LogBuffer::new(limits.log_bytes));
        let report = Arc::new(ProgressReporter::new(None, limits.checkpoint_bytes));
        // Denied requests are logged, as on a host.
        let nothing = || Capabilities::nothing(&log);
        let granted = granting.map_or_else(nothing, |granting| granting.granted(&job, &log));
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
        // The outcome that a host would record.
        let outcome = retry::settle(&lifecycle, &Backoff::default(), ended.outcome, clock::wall());
        Self { ended: Ended { outcome, ..ended }, log }
    }

    pub(super) fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Prints the output to stdout, and the log, outcome and receipt to stderr.
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

    /// Prints the log to stderr, with a line break at its end.
    pub(super) fn write_log(&self) -> io::Result<()> {
        let (log, mut out) = (self.log.snapshot().bytes, io::stderr());
        terminal::write_untrusted(&log, &mut out)?;
        let is_open = !out.is_terminal() && log.last().is_some_and(|last| *last != b'\n');
        if is_open { writeln!(out) } else { Ok(()) }
    }

    /// The outcome and usage as JSON.
    pub(super) fn receipt(&self) -> Value {
        let Ended { outcome, usage, .. } = &self.ended;
        let (kind, limit, error) = (outcome.kind(), outcome.limit(), outcome.error());
        let (retry, retry_after_ms) = retry_request(outcome);
        json!({
            "outcome": kind, "limit": limit, "error": error,
            "retry": retry, "retry_after_ms": retry_after_ms, "usage": usage,
        })
    }

    /// Writes the outcome and usage as text.
    pub(super) fn write_receipt(&self, notes: &mut dyn Write) -> io::Result<()> {
        let Ended { outcome, usage, failed_output } = &self.ended;
        if let Some(error) = outcome.error() {
            writeln!(notes, "{}: {}", error.code, printable(&error.message))?;
            if let Some(frames) = &error.backtrace {
                writeln!(notes, "{}", printable(frames))?;
            }
        }
        let kind = receipt::words(outcome.kind());
        match retry_request(outcome) {
            (Some(true), Some(ms)) if matches!(outcome, Outcome::Snoozed { .. }) => {
                writeln!(notes, "{kind}, and is retried after {} s", ms / 1000)?;
            }
            (None, _) => writeln!(notes, "{kind}")?,
            (Some(false), _) => writeln!(notes, "{kind} for good")?,
            (Some(true), None) => writeln!(notes, "{kind}, and can be retried")?,
            (Some(true), Some(ms)) => {
                writeln!(notes, "{kind}, and can be retried after {} s", ms / 1000)?;
            }
        }
        receipt::write(usage, notes)?;
        if failed_output.is_some() {
            writeln!(notes, "the output on stdout is that of an attempt that did not succeed")?;
        }
        Ok(())
    }

    /// Prints the output to stdout, also that of a failed attempt: the exit code and the receipt report the
    /// outcome.
    pub(super) fn write_output(&self) -> io::Result<()> {
        let Ended { outcome, failed_output, .. } = &self.ended;
        let output = match outcome {
            Outcome::Succeeded { output } => output,
            _ => match failed_output {
                Some(output) => output,
                None => return Ok(()),
            },
        };
        if terminal::is_binary_on_terminal(&output.bytes) {
            let bytes = output.bytes.len();
            writeln!(
                std::io::stderr(),
                "the output is binary ({bytes} bytes) and stdout is a terminal: redirect it to a file"
            )
        } else {
            terminal::write_untrusted(&output.bytes, &mut std::io::stdout())
        }
    }
}
