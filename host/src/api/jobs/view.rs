//! A job as JSON: decides which of its data clients see.

use std::collections::BTreeMap;

use jobwright_core::attempt::AttemptRecord;
use jobwright_core::clock::Timestamp;
use jobwright_core::exit_codes::ExitCodes;
use jobwright_core::host::HostId;
use jobwright_core::job::{Job, JobId, OutputInfo, Phase, Priority, QueueName, TimeBound};
use jobwright_core::limits::Limits;
use jobwright_core::outcome::OutcomeKind;
use jobwright_core::plugin::Digest;
use jobwright_core::report::Progress;
use jobwright_core::retry::{Backoff, RetryPolicy};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A job as clients see it. Absent values are `null`, so that scripts find every field.
#[derive(Debug, Serialize)]
pub(super) struct JobView<'a> {
    id: JobId,
    plugin: String,
    digest: Digest,
    queue: &'a QueueName,
    priority: Priority,
    state: Phase,
    attempt: u32,
    max_attempts: u16,
    retry_on: &'a RetryPolicy,
    backoff: &'a Backoff,
    failures: u16,
    attempts_left: u16,
    snoozes: u16,
    created_at: Timestamp,
    scheduled_at: Timestamp,
    #[serde(flatten)]
    bounds: Bounds,
    attempted_at: Option<Timestamp>,
    /// The host that runs the latest attempt, while it runs.
    host: Option<HostId>,
    finalized_at: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    tags: &'a [String],
    limits: &'a Limits,
    entrypoint: Option<&'a str>,
    args: &'a [String],
    env: &'a BTreeMap<String, String>,
    deterministic: bool,
    inject_env: bool,
    exit_codes: &'a ExitCodes,
    #[serde(flatten)]
    output: OutputFields<'a>,
    logs_url: String,
    progress: Option<&'a Progress>,
    #[serde(serialize_with = "without_seeds")]
    attempts: &'a [AttemptRecord],
}

/// The output of a job that has completed, or that of a failed attempt.
#[derive(Debug, Serialize)]
struct OutputFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a RawValue>,
    output_type: Option<&'a str>,
    output_bytes: Option<u64>,
    output_url: Option<String>,
    failed_output: Option<FailedOutput<'a>>,
}

impl<'a> OutputFields<'a> {
    fn of(job: &'a Job, output: Option<&'a RawValue>) -> Self {
        let stored = job.output.as_ref().filter(|_| job.has_completed());
        Self {
            output,
            output_type: stored.map(|stored| stored.content_type.as_str()),
            output_bytes: stored.map(|stored| stored.bytes),
            output_url: stored.map(|_| output_url(job.id)),
            failed_output: FailedOutput::of(job),
        }
    }
}

/// The bounds on the time of a job.
#[derive(Debug, Serialize)]
struct Bounds {
    ttl_ms: Option<u64>,
    deadline_ms: Option<u64>,
    /// Until when the first attempt must begin.
    expires_at: Option<Timestamp>,
    /// Until when the job must be finalized.
    deadline_at: Option<Timestamp>,
    /// Which of these ended the job.
    ended_by: Option<TimeBound>,
}

impl Bounds {
    fn of(job: &Job) -> Self {
        let (spec, lifecycle) = (&job.spec, &job.lifecycle);
        Self {
            ttl_ms: spec.ttl_ms,
            deadline_ms: spec.deadline_ms,
            expires_at: lifecycle.start_by,
            deadline_at: lifecycle.end_by,
            ended_by: lifecycle.ended_by(),
        }
    }
}

/// The output of a failed attempt at a job that has not completed. It is separate from `output`, which programs
/// treat as a result.
#[derive(Debug, Serialize)]
struct FailedOutput<'a> {
    attempt: u32,
    outcome: OutcomeKind,
    content_type: &'a str,
    bytes: u64,
    url: String,
}

impl<'a> FailedOutput<'a> {
    fn of(job: &'a Job) -> Option<Self> {
        let stored = job.output.as_ref().filter(|_| !job.has_completed())?;
        Some(Self {
            attempt: stored.attempt,
            outcome: left_by(job, stored),
            content_type: &stored.content_type,
            bytes: stored.bytes,
            url: output_url(job.id),
        })
    }
}

/// The outcome of the attempt that stored this output.
pub(super) fn left_by(job: &Job, stored: &OutputInfo) -> OutcomeKind {
    let record = job.attempts.iter().find(|record| record.attempt == stored.attempt);
    let default = if job.has_completed() { OutcomeKind::Succeeded } else { OutcomeKind::Failed };
    // If there were very many attempts, not all records are kept.
    record.map_or(default, |record| record.outcome)
}

impl<'a> JobView<'a> {
    /// `job` at `now`, with its output if it is JSON and requested.
    pub(super) fn new(job: &'a Job, output: Option<&'a RawValue>, now: Timestamp) -> Self {
        let (spec, lifecycle) = (&job.spec, &job.lifecycle);
        Self {
            id: job.id,
            plugin: format!("{}@{}", spec.plugin, spec.version),
            digest: spec.digest,
            queue: &spec.queue,
            priority: spec.priority,
            state: lifecycle.phase(now),
            attempt: lifecycle.attempt,
            max_attempts: spec.max_attempts,
            retry_on: &spec.retry,
            backoff: &spec.backoff,
            failures: lifecycle.failures,
            attempts_left: job.attempt_counts().left,
            snoozes: lifecycle.snoozes,
            created_at: job.created_at,
            scheduled_at: lifecycle.scheduled_at,
            bounds: Bounds::of(job),
            attempted_at: lifecycle.attempted_at,
            host: lifecycle.host,
            finalized_at: lifecycle.finalized_at,
            cancel_requested_at: lifecycle.cancel_requested_at,
            tags: &spec.tags,
            limits: &spec.limits,
            entrypoint: spec.entrypoint.as_deref(),
            args: &spec.args,
            env: &spec.env,
            deterministic: spec.deterministic,
            inject_env: spec.inject_env,
            exit_codes: &spec.exit_codes,
            output: OutputFields::of(job, output),
            logs_url: format!("{}/logs", url(job.id)),
            progress: job.progress.as_ref(),
            attempts: &job.attempts,
        }
    }
}

fn output_url(id: JobId) -> String {
    format!("{}/output", url(id))
}

/// The records of attempts without their seeds, from which secrets of guests could be derived. See
/// [`seeds`](mod@super::seeds).
fn without_seeds<S: Serializer>(records: &[AttemptRecord], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(records.iter().map(|record| {
        let mut shown = serde_json::to_value(record).unwrap_or_default();
        if let Some(start) = shown.get_mut("start").and_then(Value::as_object_mut) {
            start.remove("seed");
        }
        shown
    }))
}

/// The address of a job on this host.
pub(super) fn url(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}
