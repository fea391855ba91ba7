//! Accepting many jobs with one request: each is answered, in order, as if it had come alone.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use jobwright_core::job::JobId;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::request::{JobRequest, Reader};
use crate::api::app::App;
use crate::api::client::Client;
use crate::api::http::auth::By;
use crate::api::http::error::ApiError;
use crate::api::http::fields::utf8;
use crate::intake::{Accepted, Order};

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
    let now = app.clock.now();
    let reader = Reader { tenant: &caller.tenant, settings: &app.settings, now };
    let (mut read, mut submissions) = (Vec::new(), Vec::new());
    for text in texts(utf8(&body.bytes, "batch")?)? {
        read.push(reader.entry(text).map(|JobRequest { submission, unread }| {
            submissions.push(submission);
            unread
        }));
    }
    let by = Client { app: &app, caller: &caller };
    let order = Order { by: &by, deadline: now, held: Arc::new(body) };
    let mut answers = app.intake.submit(&order, submissions).await?.into_iter();
    drop(order);
    let answers = read.into_iter().map(|read| read?.answered(answers.next()));
    Ok(app.answer_all(answers.collect()).await)
}

impl App {
    /// Answers all jobs in their order. What goes wrong here is of one job: others may have been accepted.
    async fn answer_all(&self, answers: Vec<Result<Accepted, ApiError>>) -> Response {
        let mut retry_after = None;
        let mut told = Vec::with_capacity(answers.len());
        for answer in answers {
            let answer = match answer {
                Ok(Accepted::New(job)) => Ok(json!({ "status": 202, "id": job.id })),
                Ok(Accepted::Repeated { id, .. }) => self.repeated(id).await,
                Err(error) => Err(error),
            };
            told.push(answer.unwrap_or_else(|error| {
                retry_after = retry_after.take().or_else(|| error.retry_after().cloned());
                self.refused(error)
            }));
        }
        let mut response = Json(told).into_response();
        // For the jobs that were refused for lack of room.
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
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
