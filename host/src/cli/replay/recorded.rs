//! The record of a job: what its host still has of it, which may be less than a replay needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use jobwright_core::attempt::AttemptRecord;
use jobwright_core::clock::Timestamp;
use jobwright_core::exit_codes::ExitCodes;
use jobwright_core::job::{
    Job, JobId, JobIdPrefix, JobSpec, Lifecycle, Payload, Priority, QueueName,
};
use jobwright_core::limits::Limits;
use jobwright_core::outcome::OutcomeKind;
use jobwright_core::plugin::{Digest, PluginName, Version};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::{Client, FILE_BYTES, read_body};
use crate::cli::exit::{Failure, Fault};

/// The fields of a job in the HTTP interface that an attempt depends on.
#[derive(Debug, Deserialize)]
pub(super) struct RecordedJob {
    pub(super) id: JobId,
    plugin: String,
    digest: Digest,
    queue: QueueName,
    priority: Priority,
    state: String,
    attempt: u32,
    max_attempts: u16,
    created_at: Timestamp,
    tags: Vec<String>,
    limits: Limits,
    entrypoint: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    pub(super) deterministic: bool,
    // Earlier versions of hosts do not have this field and the next.
    #[serde(default = "yes")]
    inject_env: bool,
    #[serde(default)]
    exit_codes: ExitCodes,
    attempts: Vec<AttemptRecord>,
}

fn yes() -> bool {
    true
}

impl RecordedJob {
    /// Reads a job from the host.
    pub(super) async fn read(client: &Client, id: &JobIdPrefix) -> anyhow::Result<Self> {
        let job = client.json(client.request(Method::GET, &["jobs", id.as_str()])).await;
        let mut job = job.map_err(|error| not_found(error, "the job"))?;
        let answered = job["id"].as_str().unwrap_or("without an id").to_owned();
        if !answered.parse::<JobId>().is_ok_and(|found| id.matches(found)) {
            let message =
                format!("the host's response to a request for job {id} is job {answered}");
            return Err(Fault::Other.failure(message).into());
        }
        let seeds = client.json(client.request(Method::GET, &["jobs", &answered, "seeds"])).await;
        add_seeds(&mut job, &seeds.map_err(|error| not_found(error, "the job"))?);
        serde_json::from_value(job)
            .context("the host's description of the job is not one that this version can read")
    }

    /// The record of the attempt with this `number`, or of the last one.
    pub(super) fn ended(&self, number: Option<u32>) -> Result<&AttemptRecord, Failure> {
        let found = match number {
            Some(number) => self.attempts.iter().find(|record| record.attempt == number),
            None => self.attempts.last(),
        };
        let RecordedJob { id, state, attempt: latest, .. } = self;
        found.ok_or_else(|| {
            Fault::Data.failure(match number {
                _ if *latest == 0 => format!("job {id} is {state}: it has had no attempt yet"),
                Some(number) if number > *latest || number == 0 => {
                    format!("job {id} has no attempt {number}; its latest is {latest}")
                }
                Some(number) if number < *latest => {
                    format!("the record of attempt {number} of job {id} was removed")
                }
                _ => format!("job {id} is {state}: its attempt {latest} has not ended yet"),
            })
        })
    }

    pub(super) fn unknown_start(&self, record: &AttemptRecord) -> Failure {
        let (id, number) = (self.id, record.attempt);
        let why = match record.outcome {
            OutcomeKind::Lost => "it was lost with its host",
            _ => "its host did not record it",
        };
        Fault::NoInput.failure(format!(
            "the start of the clock and the random seed of attempt {number} of job {id} are not \
             known: {why}"
        ))
    }

    /// The bytes of the plugin, verified against the digest of the job.
    pub(super) async fn wasm(&self, client: &Client) -> anyhow::Result<Bytes> {
        let RecordedJob { id, plugin, digest, .. } = self;
        let (name, version) = plugin.split_once('@').unwrap_or((plugin, ""));
        let request = client.request(Method::GET, &["plugins", name, "versions", version, "wasm"]);
        let wasm = match client.file(request).await {
            Ok(wasm) => wasm,
            Err(error) if is_not_found(&error) => {
                let message = format!(
                    "job {id} ran {plugin} ({digest}), which was deleted from the host: upload the \
                     same bytes as that version again to replay it"
                );
                return Err(error.context(Fault::NoInput.failure(message)));
            }
            Err(error) => return Err(error),
        };
        let found = Digest::of(&wasm);
        if found != *digest {
            let message = format!(
                "job {id} ran bytes of {plugin} that were replaced since: it ran {digest}, the host \
                 now has {found}"
            );
            return Err(Fault::NoInput.failure(message).into());
        }
        Ok(wasm)
    }

    pub(super) async fn payload(&self, client: &Client) -> anyhow::Result<Payload> {
        let request = client.request(Method::GET, &["jobs", &self.id.to_string(), "payload"]);
        let answer = client.send(request).await.map_err(|error| not_found(error, "its payload"))?;
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        Ok(Payload { content_type, bytes: read_body(answer, FILE_BYTES).await? })
    }

    /// The output of the attempt, if it is the one that completed the job.
    pub(super) async fn output(
        &self,
        client: &Client,
        record: &AttemptRecord,
    ) -> anyhow::Result<Option<Bytes>> {
        let is_last = self.attempts.last().map(|last| last.attempt) == Some(record.attempt);
        if self.state != "completed" || !is_last {
            return Ok(None);
        }
        let request = client.request(Method::GET, &["jobs", &self.id.to_string(), "output"]);
        let output = client.file(request).await;
        output.map(Some).map_err(|error| not_found(error, "its output"))
    }

    /// The limits of an attempt.
    pub(super) fn limits_of(&self, record: &AttemptRecord) -> Limits {
        record.limits.unwrap_or(self.limits)
    }

    /// The job as it was when the attempt began, with `limits`.
    pub(super) fn at(&self, record: &AttemptRecord, limits: Limits) -> anyhow::Result<Job> {
        let spec = JobSpec { limits, ..self.spec()? };
        let mut lifecycle = Lifecycle::new(self.created_at);
        lifecycle.claim(record.attempted_at);
        (lifecycle.attempt, lifecycle.failures) = (record.attempt, record.failures);
        let (id, created_at) = (self.id, self.created_at);
        let (attempts, output, progress) = (vec![], None, None);
        Ok(Job { id, spec: Arc::new(spec), created_at, lifecycle, attempts, output, progress })
    }

    fn spec(&self) -> anyhow::Result<JobSpec> {
        let invalid = || format!("`{}` is not a plugin and its version", self.plugin);
        let (name, version) = self.plugin.split_once('@').with_context(invalid)?;
        let (plugin, version): (PluginName, Version) =
            (name.parse().with_context(invalid)?, version.parse().with_context(invalid)?);
        Ok(JobSpec {
            queue: self.queue.clone(),
            priority: self.priority,
            max_attempts: self.max_attempts,
            limits: self.limits,
            entrypoint: self.entrypoint.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            tags: self.tags.clone(),
            deterministic: self.deterministic,
            inject_env: self.inject_env,
            exit_codes: self.exit_codes.clone(),
            ..JobSpec::new(plugin, version, self.digest)
        })
    }
}

/// Adds the seeds of the attempts, which are a resource of their own, to the attempts of `job`.
fn add_seeds(job: &mut Value, seeds: &Value) {
    let seeds = seeds["seeds"].as_array().into_iter().flatten();
    let seeds: Vec<_> = seeds.map(|seed| (&seed["attempt"], &seed["seed"])).collect();
    let attempts = job.get_mut("attempts").and_then(Value::as_array_mut);
    for attempt in attempts.into_iter().flatten() {
        let number = attempt["attempt"].clone();
        let seed = seeds.iter().find(|(of, _)| **of == number);
        if let (Some((_, seed)), Some(start)) =
            (seed, attempt.get_mut("start").and_then(Value::as_object_mut))
        {
            start.insert("seed".to_owned(), (*seed).clone());
        }
    }
}

/// Adds the context that the host does not have `what`, if the error is that response.
fn not_found(error: anyhow::Error, what: &str) -> anyhow::Error {
    if !is_not_found(&error) {
        return error;
    }
    error.context(Fault::NoInput.failure(format!("the host does not have {what}")))
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(Failure::is_not_found)
}
