//! Accepting many jobs with one request: each is answered, in order, as if it had come alone.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{JobId, NewJob};
use jobwright_core::store::Enqueued;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::draft::Draft;
use crate::api::App;
use crate::api::error::ApiError;
use crate::api::fields::utf8;

/// Jobs in one batch: one commit's worth.
const MAX_JOBS: usize = 1000;

/// The length of one batch.
const MAX_BYTES: u64 = 16 << 20;

pub(in crate::api) async fn create_batch(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    if headers.contains_key("idempotency-key") {
        let detail = "an Idempotency-Key goes with one job, not with a batch";
        return Err(ApiError::bad_request("invalid_idempotency_key", detail));
    }
    let body = app.gates.bodies.read("batch", &headers, body, MAX_BYTES).await?;
    let texts = split(utf8(&body.bytes, "batch")?)?;
    if texts.len() > MAX_JOBS {
        let detail = format!("the batch has {} jobs, more than {MAX_JOBS}", texts.len());
        return Err(ApiError::bad_request("batch_too_long", detail));
    }
    let now = app.clock.now();
    let _stays = app.gates.removal.read().await;
    let drafts = texts.into_iter().map(|text| app.draft(text, now)).collect();
    Ok(Json(app.enqueue_all(drafts, now).await?))
}

impl App {
    fn draft(&self, text: &str, now: Timestamp) -> Result<NewJob, ApiError> {
        self.resolve(Draft::of_json(text, &self.settings, now)?, now)
    }

    /// Enqueues those that are valid, and answers all.
    async fn enqueue_all(
        &self,
        drafts: Vec<Result<NewJob, ApiError>>,
        now: Timestamp,
    ) -> Result<Value, ApiError> {
        let valid: Vec<NewJob> = drafts.iter().filter_map(|draft| draft.clone().ok()).collect();
        let mut answers = self.store.enqueue(valid, now).await?.into_iter();
        let entry = |draft: Result<NewJob, ApiError>| match draft {
            Err(error) => refused(error),
            Ok(job) => accepted(job.id, answers.next()),
        };
        Ok(drafts.into_iter().map(entry).collect())
    }
}

fn accepted(id: JobId, answer: Option<Enqueued>) -> Value {
    match answer {
        Some(Enqueued::Inserted) => json!({ "status": 202, "id": id }),
        Some(Enqueued::QueueFull(full)) => refused(full.into()),
        // Batches carry no keys.
        _ => refused(ApiError::internal("the store answered a batch with something else")),
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
