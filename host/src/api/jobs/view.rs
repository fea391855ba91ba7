//! A job as JSON: the one place that decides what clients see of it.

use std::collections::BTreeMap;

use jobwright_core::attempt::AttemptRecord;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId, Priority, QueueName};
use jobwright_core::lifecycle::Phase;
use jobwright_core::limits::Limits;
use jobwright_core::plugin::Digest;
use jobwright_core::report::Progress;
use serde::Serialize;
use serde_json::value::RawValue;

/// See the module's text. Absent values are `null`, so that scripts find every field.
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
    failures: u16,
    created_at: Timestamp,
    scheduled_at: Timestamp,
    attempted_at: Option<Timestamp>,
    finalized_at: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    tags: &'a [String],
    limits: &'a Limits,
    entrypoint: Option<&'a str>,
    args: &'a [String],
    env: &'a BTreeMap<String, String>,
    deterministic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a RawValue>,
    output_type: Option<&'a str>,
    output_bytes: Option<u64>,
    output_url: Option<String>,
    logs_url: String,
    progress: Option<&'a Progress>,
    attempts: &'a [AttemptRecord],
}

impl<'a> JobView<'a> {
    /// `job` as it stands at `now`; with its output's text, if that is JSON and was asked for.
    pub(super) fn new(job: &'a Job, output: Option<&'a RawValue>, now: Timestamp) -> Self {
        let (spec, lifecycle, stored) = (&job.spec, &job.lifecycle, job.output.as_ref());
        Self {
            id: job.id,
            plugin: format!("{}@{}", spec.plugin, spec.version),
            digest: spec.digest,
            queue: &spec.queue,
            priority: spec.priority,
            state: lifecycle.phase(now),
            attempt: lifecycle.attempt,
            max_attempts: spec.max_attempts,
            failures: lifecycle.failures,
            created_at: job.created_at,
            scheduled_at: lifecycle.scheduled_at,
            attempted_at: lifecycle.attempted_at,
            finalized_at: lifecycle.finalized_at,
            cancel_requested_at: lifecycle.cancel_requested_at,
            tags: &spec.tags,
            limits: &spec.limits,
            entrypoint: spec.entrypoint.as_deref(),
            args: &spec.args,
            env: &spec.env,
            deterministic: spec.deterministic,
            output,
            output_type: stored.map(|stored| stored.content_type.as_str()),
            output_bytes: stored.map(|stored| stored.bytes),
            output_url: stored.map(|_| format!("{}/output", url(job.id))),
            logs_url: format!("{}/logs", url(job.id)),
            progress: job.progress.as_ref(),
            attempts: &job.attempts,
        }
    }
}

/// The address of a job on this host.
pub(super) fn url(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}
