//! Accepting many jobs with one request: each is answered, in order, as if it had come alone.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use jobwright_core::access::Caller;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{JobId, NewJob};
use jobwright_core::plugin::PluginName;
use jobwright_core::store::Enqueued;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::create::Submission;
use super::replay::Accepted;
use crate::api::app::App;
use crate::api::http::auth::By;
use crate::api::http::error::ApiError;
use crate::api::http::fields::utf8;

/// Jobs in one batch: one commit's worth.
const MAX_JOBS: usize = 1000;

/// The length of one batch.
const MAX_BYTES: u64 = 16 << 20;

pub(in crate::api) async fn create_batch(
    State(app): State<App>,
    By(caller): By,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if headers.contains_key("idempotency-key") {
        let detail = "an Idempotency-Key is for one job: give each job of a batch an \
                      `idempotency_key` of its own";
        return Err(ApiError::bad_request("invalid_idempotency_key", detail));
    }
    let body = app.body(&caller, "batch", &headers, body, MAX_BYTES).await?;
    let texts = texts(utf8(&body.bytes, "batch")?)?;
    let now = app.clock.now();
    let mut entries = Vec::with_capacity(texts.len());
    for text in texts {
        entries.push(app.read_entry(&caller, text, now).await);
    }
    let room = app.room_for(&caller, &entries, now).await?;
    let check = |entry: Result<_, _>| match entry? {
        Entry::New(submission) => {
            room.clone().and_then(|()| app.checked(&caller, submission, now)).map(Entry::New)
        }
        Entry::Repeated(id) => Ok(Entry::Repeated(id)),
    };
    let entries: Vec<Result<Entry<NewJob>, ApiError>> = entries.into_iter().map(check).collect();
    let plugins: BTreeSet<PluginName> = entries.iter().filter_map(plugin).collect();
    let _stay = app.gates.intake.accepting(&caller.tenant, plugins.iter().collect()).await;
    let still_runs = |entry: Entry<NewJob>| match entry {
        Entry::New(job) => app.still_runs(&job.spec).map(|()| Entry::New(job)),
        Entry::Repeated(id) => Ok(Entry::Repeated(id)),
    };
    let entries = entries.into_iter().map(|entry| entry.and_then(still_runs)).collect();
    app.still_admits(&caller, false)?;
    app.enqueue_all(entries, now).await
}

/// A job of a batch.
enum Entry<T> {
    /// It is to be accepted.
    New(T),
    /// It was accepted under its key before.
    Repeated(JobId),
}

/// The plugin that a job needs, if it is to be accepted.
fn plugin(entry: &Result<Entry<NewJob>, ApiError>) -> Option<PluginName> {
    match entry {
        Ok(Entry::New(job)) => Some(job.spec.plugin.clone()),
        _ => None,
    }
}

impl App {
    /// Reads a job, and looks up whether it was accepted before, whatever has changed since.
    async fn read_entry(
        &self,
        caller: &Caller,
        text: &str,
        now: Timestamp,
    ) -> Result<Entry<Submission>, ApiError> {
        let submission = Submission::of_entry(&caller.tenant, text)?;
        Ok(match self.accepted_before(submission.key.as_ref(), now).await? {
            Some(accepted) => Entry::Repeated(accepted.id),
            None => Entry::New(submission),
        })
    }

    /// Whether new entries are taken now. If not, a batch of which nothing was accepted before is refused
    /// as a whole: it can be sent again as it is.
    async fn room_for<T>(
        &self,
        caller: &Caller,
        entries: &[Result<Entry<T>, ApiError>],
        now: Timestamp,
    ) -> Result<Result<(), ApiError>, ApiError> {
        let new = entries.iter().filter(|entry| matches!(entry, Ok(Entry::New(_)))).count();
        if new == 0 {
            return Ok(Ok(()));
        }
        let room = match self.has_room(now) {
            Ok(()) => self.keeps_pace(&caller.tenant, new, now).await,
            full => full,
        };
        let is_repeated = |entry: &_| matches!(entry, Ok(Entry::Repeated(_)));
        if entries.iter().any(is_repeated) { Ok(room) } else { room.map(Ok) }
    }

    /// The job that is asked for, if it can be accepted.
    fn checked(
        &self,
        caller: &Caller,
        submission: Submission,
        now: Timestamp,
    ) -> Result<NewJob, ApiError> {
        let key = submission.key.clone();
        let mut job = self.resolve(caller, submission.draft(&self.settings, now)?, now)?;
        if let Some(key) = key {
            job.idempotency = Some(key.remember(self.first_answer(&job, now)?, now));
        }
        Ok(job)
    }

    /// Enqueues the jobs that are new, and answers all entries in their order.
    async fn enqueue_all(
        &self,
        entries: Vec<Result<Entry<NewJob>, ApiError>>,
        now: Timestamp,
    ) -> Result<Response, ApiError> {
        let new = |entry: &Result<Entry<NewJob>, ApiError>| match entry {
            Ok(Entry::New(job)) => Some(job.clone()),
            _ => None,
        };
        let jobs: Vec<NewJob> = entries.iter().filter_map(new).collect();
        let mut answers = self.store.enqueue(jobs, now).await?.into_iter();
        let mut retry_after = None;
        let mut told = Vec::with_capacity(entries.len());
        for entry in entries {
            let outcome = entry.and_then(|entry| match entry {
                Entry::New(job) => accepted(job.id, answers.next()),
                Entry::Repeated(id) => Ok(Entry::Repeated(id)),
            });
            // What goes wrong from here on is an entry's: others may have been accepted.
            let answer = match outcome {
                Ok(Entry::New(id)) => Ok(json!({ "status": 202, "id": id })),
                Ok(Entry::Repeated(id)) => self.repeated(id).await,
                Err(error) => Err(error),
            };
            told.push(answer.unwrap_or_else(|error| {
                retry_after = retry_after.take().or_else(|| error.retry_after().cloned());
                self.refused(error)
            }));
        }
        let mut response = Json(told).into_response();
        // For the entries that were refused for lack of room.
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        Ok(response)
    }

    /// The answer to an entry that was refused, which is reported as a refused request is.
    fn refused(&self, error: ApiError) -> Value {
        let problem = error.problem();
        self.note_refusal(&problem, None);
        json!({ "status": problem["status"], "error": problem })
    }

    /// The answer to an entry that was accepted before: the job's state now, `null` if it was pruned.
    async fn repeated(&self, id: JobId) -> Result<Value, ApiError> {
        let job = self.store.get(id).await?;
        let state = job.map(|job| job.lifecycle.phase(self.clock.now()));
        Ok(json!({ "status": 202, "id": id, "replayed": true, "state": state }))
    }
}

/// The job that the store has for a new entry: an entry before it may have had the same key.
fn accepted(id: JobId, answer: Option<Enqueued>) -> Result<Entry<JobId>, ApiError> {
    let answer = answer.ok_or_else(|| ApiError::internal("the store answered too few jobs"))?;
    let accepted = Accepted::of(answer, Some((id, Bytes::new())))?;
    Ok(match accepted.is_repeated {
        true => Entry::Repeated(accepted.id),
        false => Entry::New(accepted.id),
    })
}

/// The jobs of a batch, if they are not too many.
fn texts(body: &str) -> Result<Vec<&str>, ApiError> {
    let texts = split(body)?;
    if texts.len() <= MAX_JOBS {
        return Ok(texts);
    }
    let count = texts.len();
    let detail =
        format!("the batch has {count} jobs, more than {MAX_JOBS}: split it into several requests");
    Err(ApiError::bad_request("batch_too_long", detail))
}

/// The jobs of a JSON array, or of one JSON object a line.
fn split<'a>(body: &'a str) -> Result<Vec<&'a str>, ApiError> {
    if body.trim_start().starts_with('[') {
        let values: Vec<&RawValue> = serde_json::from_str(body).map_err(|error| {
            ApiError::bad_request("invalid_json", format!("the batch: {error}"))
        })?;
        Ok(values.into_iter().map(RawValue::get).collect())
    } else {
        // Files that begin with a byte-order mark may have been put together.
        let trimmed = |line: &'a str| line.trim_start_matches('\u{feff}').trim();
        Ok(body.lines().map(trimmed).filter(|line| !line.is_empty()).collect())
    }
}
