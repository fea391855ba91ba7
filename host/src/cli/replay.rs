//! `jobwright replay`: repeats a recorded attempt on this machine, in the same sandbox, and compares it
//! with the record.

use std::collections::BTreeMap;
use std::future::pending;
use std::io::{self, Write};

use anyhow::Context as _;
use bytes::Bytes;
use jobwright_core::attempt::{AttemptRecord, Start};
use jobwright_core::clock::Timestamp;
use jobwright_core::exit_codes::ExitCodes;
use jobwright_core::job::{
    Job, JobId, JobIdPrefix, JobSpec, Lifecycle, Payload, Priority, QueueName,
};
use jobwright_core::limits::{Limit, Limits};
use jobwright_core::outcome::OutcomeKind;
use jobwright_core::plugin::{Digest, PluginName, Version};
use jobwright_core::retry::RetryPolicy;
use jobwright_core::runtime::Ended;
use jobwright_core::tenant::TenantName;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::{AttemptResult, LocalAttempt};
use super::client::{Client, FILE_BYTES, read_body};
use super::cut_off::{CutOff, cut_off};
use super::differences::{Difference, differences};
use super::exit::{Ending, Failure, Fault};
use super::options::StackOptions;
use super::sandbox::Sandbox;
use super::signals::Signals;
use super::terminal::{Terminal, printable};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Replay {
    /// The id of the job, or the beginning of it.
    id: JobIdPrefix,
    /// The number of the attempt [default: the latest that has ended].
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    #[command(flatten)]
    stack: StackOptions,
}

/// The fields of a job in the HTTP interface that an attempt depends on.
#[derive(Debug, Deserialize)]
struct RecordedJob {
    id: JobId,
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
    deterministic: bool,
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

impl Replay {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        let mut signals = Signals::listen()?;
        // Dropping the comparison removes its temporary folders.
        tokio::select! {
            ending = self.compare(client, terminal) => ending,
            () = signals.stopped() => {
                Err(Fault::Stopped.failure("stopped: nothing was compared").into())
            }
        }
    }

    async fn compare(&self, client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
        let job = self.job(client).await?;
        let record = job.ended(self.attempt)?.clone();
        let start = record.start.ok_or_else(|| job.unknown_start(&record))?;
        let wasm = job.wasm(client).await?;
        let payload = job.payload(client).await?;
        let output = job.output(client, &record).await?;
        let had = record.limits.unwrap_or(job.limits);
        // The host is not trusted: the limits of this machine apply.
        let limits = had.under(&Limits::CEILING);
        let sandbox = Sandbox::open(self.stack)?;
        let made = job.make(&sandbox, (&record, start, limits), wasm, payload).await?;
        let found = differences((&record, &limits), output.as_ref(), made.ended());
        let notes = notes(&job, (&record, &had), made.ended(), &found);
        let compared = Compared { notes, job, record, found };
        compared.show(&made, terminal)?;
        Ok(if compared.found.is_empty() { Ending::Done } else { Ending::Different })
    }

    async fn job(&self, client: &Client) -> anyhow::Result<RecordedJob> {
        let id = &self.id;
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

impl RecordedJob {
    /// The record of the attempt with this `number`, or of the last one.
    fn ended(&self, number: Option<u32>) -> Result<&AttemptRecord, Failure> {
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

    fn unknown_start(&self, record: &AttemptRecord) -> Failure {
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
    async fn wasm(&self, client: &Client) -> anyhow::Result<Bytes> {
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

    async fn payload(&self, client: &Client) -> anyhow::Result<Payload> {
        let request = client.request(Method::GET, &["jobs", &self.id.to_string(), "payload"]);
        let answer = client.send(request).await.map_err(|error| not_found(error, "its payload"))?;
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        Ok(Payload { content_type, bytes: read_body(answer, FILE_BYTES).await? })
    }

    /// The output of the attempt, if it is the one that completed the job.
    async fn output(
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

    /// Repeats the attempt.
    async fn make(
        &self,
        sandbox: &Sandbox,
        (record, start, limits): (&AttemptRecord, Start, Limits),
        wasm: Bytes,
        payload: Payload,
    ) -> anyhow::Result<AttemptResult> {
        let spec = JobSpec { limits, ..self.spec()? };
        sandbox.publish(spec.plugin.clone(), wasm).await?;
        let mut lifecycle = Lifecycle::new(self.created_at);
        lifecycle.claim(record.attempted_at);
        (lifecycle.attempt, lifecycle.failures) = (record.attempt, record.failures);
        let (id, created_at) = (self.id, self.created_at);
        let (attempts, output, progress) = (vec![], None, None);
        let job = Job { id, spec, created_at, lifecycle, attempts, output, progress };
        let trial = LocalAttempt { job, start, payload, granting: None };
        Ok(AttemptResult::run(sandbox, trial, pending::<()>()).await)
    }

    fn spec(&self) -> anyhow::Result<JobSpec> {
        let invalid = || format!("`{}` is not a plugin and its version", self.plugin);
        let (name, version) = self.plugin.split_once('@').with_context(invalid)?;
        let (plugin, version): (PluginName, Version) =
            (name.parse().with_context(invalid)?, version.parse().with_context(invalid)?);
        Ok(JobSpec {
            tenant: TenantName::default(),
            plugin,
            version,
            digest: self.digest,
            queue: self.queue.clone(),
            priority: self.priority,
            max_attempts: self.max_attempts,
            limits: self.limits,
            retry: RetryPolicy::default(),
            entrypoint: self.entrypoint.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            tags: self.tags.clone(),
            deterministic: self.deterministic,
            deterministic_by_grant: false,
            output_type: None,
            inject_env: self.inject_env,
            exit_codes: self.exit_codes.clone(),
        })
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

/// Remarks on a comparison.
fn notes(
    job: &RecordedJob,
    (record, limits): (&AttemptRecord, &Limits),
    ended: &Ended,
    found: &[Difference],
) -> Vec<&'static str> {
    let cut_off = cut_off(record, limits);
    let is_withdrawn = record.start.is_some_and(|start| start.determinism_withdrawn);
    let is_deterministic = job.deterministic && !is_withdrawn;
    let stacks = [record.limit, ended.outcome.limit()];
    let all = [
        (record.resumed, RESUMED),
        (record.granted, GRANTED),
        (cut_off == Some(CutOff::Cancelled), STOPPED),
        (cut_off == Some(CutOff::HostFailed), BROKEN),
        (cut_off == Some(CutOff::TimedOut), LATE),
        (stacks.contains(&Some(Limit::Stack)), STACK),
        (limits.under(&Limits::CEILING) != *limits, CEILING),
        (!is_deterministic && !found.is_empty(), FREE),
    ];
    all.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note).collect()
}

const RESUMED: &str =
    "the recorded attempt resumed from a checkpoint, which is not kept: the replay had none";
const GRANTED: &str =
    "the attempt had grants: the replay had none, and none of their configuration and variables";
const STOPPED: &str =
    "the recorded attempt was cancelled, or interrupted by its host: the replay was not";
const BROKEN: &str = "the recorded attempt was ended by its host or its process, not by the guest: the replay \
                      was not";
const LATE: &str = "the recorded attempt ended at its time limit: its fuel is not compared";
const STACK: &str = "an attempt ended at the stack limit, which is a setting of the host and is not recorded: \
                     if the host has another one (`stack_bytes`), give it with --stack-bytes";
const CEILING: &str =
    "the attempt had limits above the default ceilings: the replay had the ceilings";
const FREE: &str =
    "the attempt is not deterministic: results that depend on timing can differ each time";

/// The result of a comparison.
struct Compared {
    job: RecordedJob,
    record: AttemptRecord,
    found: Vec<Difference>,
    notes: Vec<&'static str>,
}

impl Compared {
    /// Prints the attempt as `jobwright run` does, and the comparison with the receipt.
    fn show(&self, made: &AttemptResult, terminal: &Terminal) -> io::Result<()> {
        made.write_log()?;
        if terminal.is_json() {
            let mut receipt = made.receipt();
            receipt["replay"] = json!({
                "job": self.job.id, "attempt": self.record.attempt, "same": self.found.is_empty(),
                "differences": self.found, "notes": self.notes,
            });
            writeln!(io::stderr(), "{receipt}")?;
        } else {
            let mut out = io::stderr().lock();
            made.write_receipt(&mut out)?;
            self.write(&mut out)?;
        }
        made.write_output()
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (number, id) = (self.record.attempt, self.job.id);
        if self.found.is_empty() {
            writeln!(out, "the same as attempt {number} of job {id}")?;
        } else {
            writeln!(out, "different from attempt {number} of job {id}:")?;
        }
        for Difference { what, recorded, replayed } in &self.found {
            let (recorded, replayed) = (printable(recorded), printable(replayed));
            writeln!(out, "  {what:<13} was {recorded}\n  {:<13} is  {replayed}", "")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
    }
}
