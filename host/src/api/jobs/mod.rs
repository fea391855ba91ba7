//! Jobs: accepted in `create` and `batch`, shown, listed, cancelled and retried here.

mod batch;
mod create;
mod draft;
mod output;
mod view;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jobwright_core::access::{Caller, Scope};
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::job::{Job, JobId, MAX_RECORDS, Payload};
use jobwright_core::lifecycle::{CancelRequest, Phase, Redrive};
use jobwright_core::outcome::Output;
use jobwright_core::plugin::{PluginRef, Selector};
use jobwright_core::store::{JobFilter, JobPage, Page, Redriven};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

pub(super) use self::batch::create_batch;
pub(super) use self::create::create;
use self::view::JobView;
use super::auth::By;
use super::error::{ApiError, FieldError};
use super::path::Path;
use super::{App, content, wait};

/// Jobs on one page, unless asked otherwise, and at most.
const PAGE: (usize, usize) = (50, 200);

/// What a page takes: its jobs as they are read, as they are told, and as text.
const PAGE_ROOM_BYTES: u64 = 3 * JobPage::MAX_BYTES;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    wait: Option<String>,
}

pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = app.job(&caller, &id).await?.id;
    let asked = query::<Waiting>(&uri)?.wait.map(|text| wait::parse(&text)).transpose()?;
    let preferred = wait::preferred(&headers).filter(|_| asked.is_none());
    let job = match asked.or(preferred) {
        None => app.store.get(id).await?,
        Some(span) => {
            let found = app.finalized_by(id, after(app.clock.now(), span)).await?;
            app.admits(&headers, true)?;
            found
        }
    };
    let mut response = app.answer(StatusCode::OK, &job.ok_or_else(|| unknown(id))?).await?;
    wait::tell_applied(&mut response, preferred);
    Ok(response)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    state: Option<Phase>,
    plugin: Option<String>,
    queue: Option<String>,
    tag: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, ApiError> {
    let asked: Listing = query(&uri)?;
    let limit = asked.limit.unwrap_or(PAGE.0);
    let mut errors = Vec::new();
    if !(1..=PAGE.1).contains(&limit) {
        errors.push(FieldError::new("limit", format!("{limit} is not one of 1 to {}", PAGE.1)));
    }
    let plugin = field(&mut errors, "plugin", asked.plugin.as_deref().map(str::parse::<PluginRef>));
    let queue = field(&mut errors, "queue", asked.queue.as_deref().map(str::parse));
    let before = field(&mut errors, "cursor", asked.cursor.as_deref().map(str::parse));
    let version = match plugin.as_ref().map(|plugin| &plugin.selector) {
        Some(Selector::Exact(version)) => Some(version.clone()),
        None | Some(Selector::Default) => None,
        Some(_) => {
            errors.push(FieldError::new("plugin", "name the plugin, or one exact version of it"));
            None
        }
    };
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let (plugin, tag) = (plugin.map(|plugin| plugin.name), asked.tag);
    let (tenant, phase) = (Some(caller.tenant), asked.state);
    let filter = JobFilter { tenant, phase, finalized: None, plugin, version, queue, tag };
    let room = app.gates.answers.room(PAGE_ROOM_BYTES).await?;
    let now = app.clock.now();
    let page = app.store.list(filter, Page { before, most: limit }, now).await?;
    let jobs: Vec<_> = page.jobs.iter().map(|job| JobView::new(job, None, now)).collect();
    Ok(room.with(Json(json!({ "jobs": jobs, "next_cursor": page.next })).into_response()))
}

/// Under its media type; without one, if the submitter named none.
pub(super) async fn payload(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = app.job(&caller, &id).await?.id;
    let room = app.gates.answers.room(app.settings.payload_bytes).await?;
    let Payload { content_type, bytes } =
        app.store.payload(id).await?.ok_or_else(|| unknown(id))?;
    Ok(room.with(content::serve(bytes, content_type.as_deref(), &format!("{id}.payload"))))
}

pub(super) async fn output(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = app.job(&caller, &id).await?;
    let id = job.id;
    if let Some(stored) = &job.output {
        let room = app.gates.answers.room(stored.bytes).await?;
        if let Some(Output { content_type, bytes }) = app.store.output(id).await? {
            return Ok(room.with(content::serve(bytes, Some(&content_type), &id.to_string())));
        }
    }
    let state = state_word(job.lifecycle.phase(app.clock.now()));
    let detail = format!("job {id} has no output: its state is {state}");
    Err(ApiError::not_found("no_output", detail))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichLog {
    attempt: Option<u32>,
}

/// The log of the latest attempt that wrote one, or of the attempt asked for.
pub(super) async fn logs(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted = query::<WhichLog>(&uri)?.attempt;
    let job = app.job(&caller, &id).await?;
    let id = job.id;
    if let Some(attempt) = wanted.filter(|n| !(1..=job.lifecycle.attempt).contains(n)) {
        let detail =
            format!("job {id} has no attempt {attempt}; its latest is {}", job.lifecycle.attempt);
        return Err(ApiError::not_found("attempt_not_found", detail));
    }
    // Those of many attempts are read.
    let attempts = u64::from(job.lifecycle.attempt).min(MAX_RECORDS as u64);
    let most = attempts.saturating_mul(job.spec.limits.log_bytes);
    let room = app.gates.answers.room(most).await?;
    let mut logs = app.store.logs(id).await?;
    logs.retain(|log| wanted.is_none_or(|attempt| log.attempt == attempt));
    let latest = logs.pop();
    let (attempt, log) = match latest {
        Some(found) => (found.attempt, found.log),
        None => (wanted.unwrap_or(job.lifecycle.attempt), Default::default()),
    };
    let mut response =
        content::serve(log.bytes.into(), Some("text/plain; charset=utf-8"), &format!("{id}.log"));
    for (name, value) in [
        ("jobwright-attempt", u64::from(attempt)),
        ("jobwright-log-dropped-bytes", log.dropped_bytes),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
    Ok(room.with(response))
}

pub(super) async fn cancel(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = app.job(&caller, &id).await?;
    let (id, now) = (job.id, app.clock.now());
    let status = match app.request_cancel(&caller, job, now).await? {
        CancelRequest::Cancelled | CancelRequest::AlreadyCancelled => StatusCode::OK,
        CancelRequest::Stopping { .. } => StatusCode::ACCEPTED,
        CancelRequest::Finalized(state) => {
            let detail = format!("job {id} is over: it was {}", state_word(state));
            return Err(ApiError::conflict("already_finalized", detail));
        }
    };
    app.answer_to(&caller, status, id).await
}

pub(super) async fn retry(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = app.job(&caller, &id).await?;
    let (id, now) = (job.id, app.clock.now());
    app.gates.disk.has_room(now)?;
    app.keeps_pace(&caller.tenant, 1, now).await?;
    // A plugin that is just going must not gain a job.
    let _stays = app.gates.removal.read().await;
    app.still_runs(&job.spec)?;
    let mut lifecycle = job.lifecycle.clone();
    if lifecycle.redrive(now) == Redrive::Running {
        return Err(running(id));
    }
    if lifecycle == job.lifecycle {
        return app.answer_to(&caller, StatusCode::ACCEPTED, id).await;
    }
    app.audit(&caller, "job.retry", &id.to_string(), json!({})).await?;
    match app.store.redrive(id, now).await? {
        None => Err(unknown(id)),
        Some(Redriven::Due) => app.answer_to(&caller, StatusCode::ACCEPTED, id).await,
        Some(Redriven::QueueFull(full)) => Err(full.into()),
        Some(Redriven::Running) => Err(running(id)),
    }
}

impl App {
    /// A job of the caller's tenant; any other is not known.
    pub(super) async fn job(&self, caller: &Caller, id: &str) -> Result<Job, ApiError> {
        let id = parse_id(id)?;
        let job = self.store.get(id).await?.filter(|job| job.spec.tenant == caller.tenant);
        job.ok_or_else(|| unknown(id))
    }

    /// Cancels `job`, as it was just read. What is over already is left alone.
    async fn request_cancel(
        &self,
        caller: &Caller,
        job: Job,
        now: Timestamp,
    ) -> Result<CancelRequest, ApiError> {
        let Job { id, mut lifecycle, .. } = job;
        let asked_before = lifecycle.cancel_requested_at.is_some();
        match lifecycle.request_cancel(now) {
            over @ (CancelRequest::AlreadyCancelled | CancelRequest::Finalized(_)) => {
                return Ok(over);
            }
            // The attempt is only told again.
            _ if asked_before => {}
            _ => self.audit(caller, "job.cancel", &id.to_string(), json!({})).await?,
        }
        self.store.request_cancel(id, now).await?.ok_or_else(|| unknown(id))
    }

    /// A job as an answer, with its output if that is JSON.
    async fn answer(&self, status: StatusCode, job: &Job) -> Result<Response, ApiError> {
        let stored = job.output.as_ref().filter(|stored| output::is_json(&stored.content_type));
        let (json, room) = match stored {
            Some(stored) => {
                // As it is stored, as it is checked, and as it is sent.
                let room = self.gates.answers.room(3 * stored.bytes).await?;
                (self.store.output(job.id).await?, Some(room))
            }
            None => (None, None),
        };
        // A plugin may be set to leave JSON and leave something else.
        let json = json.and_then(|output| output::embeddable(&output.bytes));
        let view = JobView::new(job, json.as_deref(), self.clock.now());
        let response = (status, located(job.id), Json(view)).into_response();
        Ok(match room {
            Some(room) => room.with(response),
            None => response,
        })
    }

    /// What became of a job that `caller` did something to. It may be another's, with arguments and
    /// variables that are not for whoever may submit: who may not read is told only how it stands.
    async fn answer_to(
        &self,
        caller: &Caller,
        status: StatusCode,
        id: JobId,
    ) -> Result<Response, ApiError> {
        let job = self.store.get(id).await?.ok_or_else(|| unknown(id))?;
        if caller.may(Scope::JobsRead) {
            return self.answer(status, &job).await;
        }
        let (state, attempt) = (job.lifecycle.phase(self.clock.now()), job.lifecycle.attempt);
        let brief = Json(json!({ "id": id, "state": state, "attempt": attempt }));
        Ok((status, located(id), brief).into_response())
    }
}

fn parse_id(text: &str) -> Result<JobId, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request("invalid_job_id", error))
}

fn unknown(id: JobId) -> ApiError {
    ApiError::not_found("job_not_found", format!("job {id} is not known; it may have been pruned"))
}

fn located(id: JobId) -> [(HeaderName, String); 1] {
    [(header::LOCATION, view::url(id))]
}

fn running(id: JobId) -> ApiError {
    let detail = format!("job {id} is running: there is nothing to retry yet");
    ApiError::conflict("already_running", detail)
}

fn state_word(state: impl serde::Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Query::try_from_uri(uri)
        .map(|Query(asked)| asked)
        .map_err(|error| ApiError::bad_request("invalid_query", error.body_text()))
}

fn field<T, E: ToString>(
    errors: &mut Vec<FieldError>,
    name: &str,
    parsed: Option<Result<T, E>>,
) -> Option<T> {
    parsed.and_then(|result| result.map_err(|e| errors.push(FieldError::new(name, e))).ok())
}
