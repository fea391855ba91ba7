//! The payload, the output and the logs of a job.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::response::Response;
use jobwright_core::job::{Job, MAX_RECORDS, OutputInfo, Payload};
use jobwright_core::outcome::Output;

use super::answer::state_word;
use super::named::unknown;
use super::view;
use crate::api::app::App;
use crate::api::http::auth::By;
use crate::api::http::content;
use crate::api::http::error::ApiError;
use crate::api::http::path::Path;
use crate::api::http::problem_code::ProblemCode;
use crate::api::http::query::Query;
use crate::detached;

/// The payload, with its media type if the submitter named one.
pub(in crate::api) async fn payload(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = app.job(&caller, &id).await?.id;
    let permit =
        app.budgets.responses.of(&caller.tenant).acquire(app.settings.payload_bytes).await?;
    let read_permit = app.budgets.reads.of(&caller.tenant).acquire().await;
    let store = app.parts.jobs.store.clone();
    let reading = async move { store.payload(id).await };
    let payload = detached::run((read_permit, permit.clone()), reading).await??;
    let Payload { content_type, bytes } = payload.ok_or_else(|| unknown(id))?;
    Ok(permit.attach(content::serve(bytes, content_type.as_deref(), &format!("{id}.payload"))))
}

/// The output of the job, or of a failed attempt. Headers have the number and the outcome of the attempt.
pub(in crate::api) async fn output(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let mut job = app.job(&caller, &id).await?;
    let id = job.id;
    while let Some(stored) = &job.output {
        let permit = app.budgets.responses.of(&caller.tenant).acquire(stored.bytes).await?;
        let Some(output) = app.read_output(&caller.tenant, id, &permit).await? else { break };
        let now = app.parts.jobs.store.get(id).await?.ok_or_else(|| unknown(id))?;
        if now.output.as_ref() == Some(stored) && now.has_completed() == job.has_completed() {
            return Ok(permit.attach(left(&job, stored, output)));
        }
        // Another attempt has stored an output meanwhile.
        job = now;
    }
    let state = state_word(job.lifecycle.phase(app.parts.jobs.clock.now()));
    let detail = format!("job {id} has no output: its state is {state}");
    Err(ApiError::new(ProblemCode::NoOutput, detail))
}

fn left(job: &Job, stored: &OutputInfo, output: Output) -> Response {
    let Output { content_type, bytes } = output;
    let mut response = content::serve(bytes, Some(&content_type), &job.id.to_string());
    let headers = response.headers_mut();
    headers.insert(ATTEMPT, stored.attempt.into());
    if let Ok(outcome) = state_word(view::left_by(job, stored)).try_into() {
        headers.insert(OUTCOME, outcome);
    }
    response
}

/// The number of the attempt.
const ATTEMPT: HeaderName = HeaderName::from_static("jobwright-attempt");

/// The outcome of the attempt, as in its record.
const OUTCOME: HeaderName = HeaderName::from_static("jobwright-outcome");

/// The log of the latest attempt that wrote one, or of the attempt in the query.
pub(in crate::api) async fn logs(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let mut query = Query::of(&uri);
    let wanted: Option<u32> = query.take("attempt", "the number of an attempt");
    query.finish()?;
    let job = app.job(&caller, &id).await?;
    let id = job.id;
    if let Some(attempt) = wanted.filter(|n| !(1..=job.lifecycle.attempt).contains(n)) {
        let detail =
            format!("job {id} has no attempt {attempt}; its latest is {}", job.lifecycle.attempt);
        return Err(ApiError::new(ProblemCode::AttemptNotFound, detail));
    }
    // The logs of several attempts are read.
    let attempts = u64::from(job.lifecycle.attempt).min(MAX_RECORDS as u64);
    let most = attempts.saturating_mul(job.spec.limits.log_bytes);
    let permit = app.budgets.responses.of(&caller.tenant).acquire(most).await?;
    let read_permit = app.budgets.reads.of(&caller.tenant).acquire().await;
    let store = app.parts.jobs.store.clone();
    let reading = async move { store.logs(id).await };
    let mut logs = detached::run((read_permit, permit.clone()), reading).await??;
    logs.retain(|log| wanted.is_none_or(|attempt| log.attempt == attempt));
    let latest = logs.pop();
    let (attempt, log) = match latest {
        Some(found) => (found.attempt, found.log),
        None => (wanted.unwrap_or(job.lifecycle.attempt), Default::default()),
    };
    let mut response =
        content::serve(log.bytes.into(), Some("text/plain; charset=utf-8"), &format!("{id}.log"));
    for (name, value) in [
        (ATTEMPT, u64::from(attempt)),
        (HeaderName::from_static("jobwright-log-dropped-bytes"), log.dropped_bytes),
    ] {
        response.headers_mut().insert(name, HeaderValue::from(value));
    }
    Ok(permit.attach(response))
}
