//! Accepts many jobs with one request. The response has one result for each job, in order.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use jobwright_core::job::JobId;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::request::{JobRequest, Reader};
use crate::api::app::App;
use crate::api::client::Client;
use crate::api::http::auth::By;
use crate::api::http::body::RawBody;
use crate::api::http::error::ApiError;
use crate::api::http::fields::utf8;
use crate::api::http::problem_code::ProblemCode;
use crate::intake::{Accepted, Order};

/// The maximum number of jobs in one batch: as many as one commit takes.
const MAX_JOBS: usize = 1000;

/// The maximum length of one batch, in bytes.
const MAX_BYTES: u64 = 16 << 20;

pub(in crate::api) async fn create_batch(
    State(app): State<App>,
    By(caller): By,
    body: RawBody,
) -> Result<Response, ApiError> {
    if body.headers.contains_key("idempotency-key") {
        let detail = "an Idempotency-Key is for one job: give each job of a batch an \
                      `idempotency_key` of its own";
        return Err(ApiError::new(ProblemCode::InvalidIdempotencyKey, detail));
    }
    let body = app.body(&caller, body, "batch", MAX_BYTES).await?;
    let now = app.parts.jobs.clock.now();
    let reader = Reader { settings: &app.settings, now };
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
    /// The response with the results of all jobs, in order. An error belongs to one job: others may have been
    /// accepted.
    async fn answer_all(&self, answers: Vec<Result<Accepted, ApiError>>) -> Response {
        let mut retry_after = None;
        let mut results = Vec::with_capacity(answers.len());
        for answer in answers {
            let answer = match answer {
                Ok(Accepted::New(job)) => Ok(json!({ "status": 202, "id": job.id })),
                Ok(Accepted::Repeated(first)) => self.repeated(first.id).await,
                Err(error) => Err(error),
            };
            results.push(answer.unwrap_or_else(|error| {
                retry_after = retry_after.take().or_else(|| error.retry_after().cloned());
                self.refused(error)
            }));
        }
        let mut response = Json(results).into_response();
        // For the jobs that were refused for lack of capacity.
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }

    /// The result of a job that was refused. It is logged like a refused request.
    fn refused(&self, error: ApiError) -> Value {
        let problem = error.problem();
        self.log_refusal(&problem, None);
        json!({ "status": problem["status"], "error": problem })
    }

    /// The result of a job that was accepted before: its present state, `null` if it was pruned.
    async fn repeated(&self, id: JobId) -> Result<Value, ApiError> {
        let job = self.parts.jobs.store.get(id).await?;
        let state = job.map(|job| job.lifecycle.phase(self.parts.jobs.clock.now()));
        Ok(json!({ "status": 202, "id": id, "replayed": true, "state": state }))
    }
}

/// The jobs of a batch, as JSON.
///
/// # Errors
/// If there are too many.
fn texts(body: &str) -> Result<Vec<&str>, ApiError> {
    let texts = split(body)?;
    if texts.len() <= MAX_JOBS {
        return Ok(texts);
    }
    let count = texts.len();
    let detail =
        format!("the batch has {count} jobs, more than {MAX_JOBS}: split it into several requests");
    Err(ApiError::new(ProblemCode::BatchTooLong, detail))
}

/// The jobs of a JSON array, or of one JSON object a line.
fn split<'a>(body: &'a str) -> Result<Vec<&'a str>, ApiError> {
    if body.trim_start().starts_with('[') {
        let values: Vec<&RawValue> = serde_json::from_str(body).map_err(|error| {
            ApiError::new(ProblemCode::InvalidJson, format!("the batch: {error}"))
        })?;
        Ok(values.into_iter().map(RawValue::get).collect())
    } else {
        // The batch may be a concatenation of files with byte-order marks.
        let trimmed = |line: &'a str| line.trim_start_matches('\u{feff}').trim();
        Ok(body.lines().map(trimmed).filter(|line| !line.is_empty()).collect())
    }
}
