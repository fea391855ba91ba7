//! `jobwright run`: one job here, without a host, in the very same sandbox.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use jobwright_core::attempt::Attempt;
use jobwright_core::clock::Clock as _;
use jobwright_core::job::{Job, JobId, JobSpec, Payload, Priority, QueueName};
use jobwright_core::lifecycle::Lifecycle;
use jobwright_core::limits::{LimitPolicy, LimitsRequest};
use jobwright_core::log::LogBuffer;
use jobwright_core::outcome::Outcome;
use jobwright_core::plugin::{PluginName, PluginVersion};
use jobwright_core::report::Report;
use jobwright_core::retry::RetryPolicy;
use jobwright_core::runtime::{Ended, Runtime as _, Stop, StopReason};
use serde_json::json;

use super::exit::{Ending, Fault};
use super::options::{CommandOptions, LimitOptions};
use super::payload::PayloadOptions;
use super::receipt;
use super::sandbox::{self, Sandbox};
use super::terminal::{self, Terminal, printable};
use crate::clock::SystemClock;

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The WebAssembly binary.
    file: PathBuf,
    #[command(flatten)]
    payload: PayloadOptions,
    #[command(flatten)]
    command: CommandOptions,
    #[command(flatten)]
    limits: LimitOptions,
}

impl Run {
    pub(super) async fn execute(self, terminal: &Terminal) -> anyhow::Result<Ending> {
        let name = self.name();
        let wasm = sandbox::read(&self.file).await?;
        let (bytes, content_type) = self.payload.read().await?;
        let sandbox = Sandbox::open()?;
        let version = sandbox.publish(name.clone(), wasm).await?;
        let request = self.limits.request();
        let job = job(name, version, self.command, request)?;
        let log = Arc::new(LogBuffer::new(job.spec.limits.log_bytes));
        let payload = Payload { content_type, bytes: bytes.into() };
        let limits = job.spec.limits;
        let report = Arc::new(Report::new(None, limits.checkpoint_bytes));
        let attempt = Attempt { job, limits, payload, log: log.clone(), report };

        let (stop, signal) = Stop::new();
        let run = sandbox.runtime.run(attempt, signal);
        tokio::pin!(run);
        let ended = tokio::select! {
            ended = &mut run => ended,
            _ = tokio::signal::ctrl_c() => {
                stop.raise(StopReason::Cancelled);
                run.await
            }
        };
        terminal::write_foreign(&log.snapshot().bytes, &mut std::io::stderr())?;
        show(terminal, ended)
    }

    /// The file's name, as far as it is a plugin's name.
    fn name(&self) -> PluginName {
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.to_ascii_lowercase().parse().or_else(|_| "plugin".parse());
        name.unwrap_or_else(|_| unreachable!("`plugin` is a plugin's name"))
    }
}

fn job(
    plugin: PluginName,
    found: PluginVersion,
    command: CommandOptions,
    request: LimitsRequest,
) -> anyhow::Result<Job> {
    let none = LimitsRequest::default();
    let minimum = found.inspection.minimum_memory_bytes;
    let limits = LimitPolicy::default().complete(request, none, minimum).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Fault::Data.says(faults.join("; "))
    })?;
    let entrypoint = found
        .inspection
        .entrypoint(command.entrypoint.as_deref())
        .map_err(|fault| Fault::Data.says(format!("entrypoint: {fault}")))?;
    let env = command.variables()?;
    let now = SystemClock.now();
    let mut lifecycle = Lifecycle::new(now);
    lifecycle.claim(now);
    let spec = JobSpec {
        plugin,
        version: found.version,
        digest: found.digest,
        queue: QueueName::default(),
        priority: Priority::default(),
        max_attempts: 1,
        limits,
        retry: RetryPolicy::default(),
        entrypoint,
        args: command.args,
        env,
        tags: vec![],
        deterministic: command.deterministic,
        output_type: None,
    };
    let id = JobId::new(now);
    let (attempts, output, progress) = (vec![], None, None);
    Ok(Job { id, spec, created_at: now, lifecycle, attempts, output, progress })
}

fn show(terminal: &Terminal, ended: Ended) -> anyhow::Result<Ending> {
    let Ended { outcome, usage } = ended;
    let mut notes = std::io::stderr().lock();
    if terminal.is_json() {
        let (kind, limit, error) = (outcome.kind(), outcome.limit(), outcome.error());
        let receipt = json!({ "outcome": kind, "limit": limit, "error": error, "usage": usage });
        writeln!(notes, "{receipt}")?;
    } else {
        if let Some(error) = outcome.error() {
            writeln!(notes, "{}: {}", error.code, printable(&error.message))?;
            if let Some(frames) = &error.backtrace {
                writeln!(notes, "{}", printable(frames))?;
            }
        }
        let kind = serde_json::to_value(outcome.kind())?;
        writeln!(notes, "{}", kind.as_str().unwrap_or_default().replace('_', " "))?;
        receipt::write(&usage, &mut notes)?;
    }
    match outcome {
        Outcome::Succeeded { output } => {
            if terminal::is_binary_on_terminal(&output.bytes) {
                writeln!(notes, "the output is no text: send it to a file")?;
            } else {
                terminal::write_foreign(&output.bytes, &mut std::io::stdout())?;
            }
            Ok(Ending::Done)
        }
        Outcome::Cancelled => Ok(Ending::JobCancelled),
        _ => Ok(Ending::JobFailed),
    }
}
