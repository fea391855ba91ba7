//! Accepting many jobs with one request: each is answered, in order, as if it had come alone.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use jobwright_core::access::Caller;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::Facts;
use jobwright_core::job::{JobId, NewJob};
use jobwright_core::store::Enqueued;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::draft::Draft;
use crate::api::App;
use crate::api::auth::By;
use crate::api::error::ApiError;
use crate::api::fields::utf8;

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
        let detail = "an Idempotency-Key goes with one job, not with a batch";
        return Err(ApiError::bad_request("invalid_idempotency_key", detail));
    }
    let body = app.body("batch", &headers, body, MAX_BYTES).await?;
    let texts = split(utf8(&body.bytes, "batch")?)?;
    if texts.len() > MAX_JOBS {
        let detail = format!("the batch has {} jobs, more than {MAX_JOBS}", texts.len());
        return Err(ApiError::bad_request("batch_too_long", detail));
    }
    let now = app.clock.now();
    app.gates.disk.has_room(now)?;
    app.keeps_pace(&caller.tenant, texts.len(), now).await?;
    let _stays = app.gates.removal.read().await;
    let drafts = texts.into_iter().map(|text| app.draft(&caller, text, now)).collect();
    app.enqueue_all(drafts, now).await
}

impl App {
    fn draft(&self, caller: &Caller, text: &str, now: Timestamp) -> Result<NewJob, ApiError> {
        let job = self.resolve(caller, Draft::of_json(text, &self.settings, now)?, now)?;
        self.is_on(&Facts::from(&job.spec))?;
        Ok(job)
    }

    /// Enqueues those that are valid, and answers all.
    async fn enqueue_all(
        &self,
        drafts: Vec<Result<NewJob, ApiError>>,
        now: Timestamp,
    ) -> Result<Response, ApiError> {
        let valid: Vec<NewJob> = drafts.iter().filter_map(|draft| draft.clone().ok()).collect();
        let mut answers = self.store.enqueue(valid, now).await?.into_iter();
        let mut retry_after = None;
        let mut entry = |draft: Result<NewJob, ApiError>| match draft
            .and_then(|job| accepted(job.id, answers.next()))
        {
            Ok(id) => json!({ "status": 202, "id": id }),
            Err(error) => {
                retry_after = retry_after.take().or_else(|| error.retry_after().cloned());
                refused(error)
            }
        };
        let entries: Value = drafts.into_iter().map(&mut entry).collect();
        let mut response = Json(entries).into_response();
        // For the entries that were refused for lack of room.
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        Ok(response)
    }
}

fn accepted(id: JobId, answer: Option<Enqueued>) -> Result<JobId, ApiError> {
    match answer {
        Some(Enqueued::Inserted) => Ok(id),
        Some(Enqueued::QueueFull(full)) => Err(full.into()),
        // Batches carry no keys.
        _ => Err(ApiError::internal("the store answered a batch with something else")),
    }
}

fn refused(error: ApiError) -> Value {
    let problem = error.problem();
    json!({ "status": problem["status"], "error": problem })
}

/// The jobs of a JSON array, or of one JSON object a line.
fn split(body: &str) -> Result<Vec<&str>, ApiError> {
    if body.trim_start().starts_with('[') {
        let values: Vec<&RawValue> = serde_json::from_str(body).map_err(|error| {
            ApiError::bad_request("invalid_json", format!("the batch: {error}"))
        })?;
        Ok(values.into_iter().map(RawValue::get).collect())
    } else {
        Ok(body.lines().map(str::trim).filter(|line| !line.is_empty()).collect())
    }
}
