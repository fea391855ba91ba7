//! Jobs: accepted in `create` and `batch`, shown, listed, cancelled and retried here.

mod batch;
mod create;
mod draft;
mod idempotency;
mod named;
mod output;
mod payload;
mod replay;
mod seeds;
mod view;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jobwright_core::access::{Caller, Scope};
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::job::{Job, JobId, MAX_RECORDS, Payload, Stored};
use jobwright_core::lifecycle::{CancelRequest, Redrive};
use jobwright_core::outcome::{Output, is_json};
use jobwright_core::plugin::{PluginRef, Selector};
use jobwright_core::store::{JobFilter, JobPage, Page, Redriven};
use jobwright_core::tenant::TenantName;
use serde_json::json;

pub(super) use self::batch::create_batch;
pub(super) use self::create::{create, request_bytes};
use self::named::unknown;
pub(super) use self::seeds::seeds;
use self::view::JobView;
use super::answers::Room;
use super::auth::By;
use super::error::ApiError;
use super::path::Path;
use super::query::{INVALID_FIELDS, Query};
use super::wait::Wait;
use super::{App, content, detached, wait};

/// Jobs on one page, unless asked otherwise, and at most.
const PAGE: (usize, usize) = (50, 200);

/// The states that jobs are listed by.
const STATES: &str =
    "one of scheduled, available, retryable, running, completed, discarded, cancelled";

/// What is said to a client that sends a body with a retry.
pub(super) const RETRY_HINT: &str = "a retry runs the job as it was submitted, with the same version \
     of its plugin: to run another version, submit a new job";

/// What a page takes: its jobs as they are read, as they are told, and as text.
const PAGE_ROOM_BYTES: u64 = 3 * JobPage::MAX_BYTES;

pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut query = Query::of(&uri);
    let asked = query.parse("wait", "invalid_wait");
    query.finish()?;
    let found = app.job(&caller, &id).await?;
    let id = found.id;
    let asked = asked.map(|Wait(span)| span);
    let preferred = wait::preferred(&headers).filter(|_| asked.is_none());
    let job = match asked.or(preferred) {
        None => Some(found),
        Some(span) => {
            let deadline = after(app.clock.now(), span);
            app.finalized_by(&caller.tenant, id, deadline).await?
        }
    };
    let mut response =
        app.answer(&caller, StatusCode::OK, &job.ok_or_else(|| unknown(id))?).await?;
    // Also of `?wait=`: a longer wait than is taken is cut.
    wait::tell_applied(&mut response, asked.or(preferred));
    Ok(response)
}

/// What a client asks of a listing.
struct Listing {
    filter: JobFilter,
    page: Page,
}

impl Listing {
    fn of(uri: &Uri, tenant: TenantName) -> Result<Self, ApiError> {
        let mut query = Query::of(uri);
        let phase = query.take("state", STATES);
        let plugin: Option<PluginRef> = query.parse("plugin", INVALID_FIELDS);
        let queue = query.parse("queue", INVALID_FIELDS);
        let tag = query.take("tag", "a string");
        let before = query.parse("cursor", INVALID_FIELDS);
        let most = query.limit(PAGE.0, PAGE.1);
        let version = match plugin.as_ref().map(|plugin| &plugin.selector) {
            Some(Selector::Exact(version)) => Some(version.clone()),
            None | Some(Selector::Default) => None,
            Some(_) => {
                let message = "name the plugin, or one exact version of it";
                query.wrong("plugin", INVALID_FIELDS, message);
                None
            }
        };
        query.finish()?;
        let plugin = plugin.map(|plugin| plugin.name);
        let tenant = Some(tenant);
        let filter = JobFilter { tenant, phase, finalized: None, plugin, version, queue, tag };
        Ok(Self { filter, page: Page { before, most } })
    }
}

pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Listing { filter, page } = Listing::of(&uri, caller.tenant.clone())?;
    let room = app.gates.answers.of(&caller.tenant).room(PAGE_ROOM_BYTES).await?;
    let turn = app.gates.listings.of(&caller.tenant).acquire().await;
    let (store, now) = (app.store.clone(), app.clock.now());
    let listing = async move { store.list(filter, page, now).await };
    let page = detached::run((turn, room.clone()), listing).await??;
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
    let room = app.gates.answers.of(&caller.tenant).room(app.settings.payload_bytes).await?;
    let turn = app.gates.reads.of(&caller.tenant).acquire().await;
    let store = app.store.clone();
    let reading = async move { store.payload(id).await };
    let payload = detached::run((turn, room.clone()), reading).await??;
    let Payload { content_type, bytes } = payload.ok_or_else(|| unknown(id))?;
    Ok(room.with(content::serve(bytes, content_type.as_deref(), &format!("{id}.payload"))))
}

/// What the job left, or a failed attempt at it: headers say which attempt, and how it ended.
pub(super) async fn output(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let mut job = app.job(&caller, &id).await?;
    let id = job.id;
    while let Some(stored) = &job.output {
        let room = app.gates.answers.of(&caller.tenant).room(stored.bytes).await?;
        let Some(output) = app.read_output(&caller.tenant, id, &room).await? else { break };
        let now = app.store.get(id).await?.ok_or_else(|| unknown(id))?;
        if now.output.as_ref() == Some(stored) && now.has_completed() == job.has_completed() {
            return Ok(room.with(left(&job, stored, output)));
        }
        // Another attempt has left something in between.
        job = now;
    }
    let state = state_word(job.lifecycle.phase(app.clock.now()));
    let detail = format!("job {id} has no output: its state is {state}");
    Err(ApiError::not_found("no_output", detail))
}

fn left(job: &Job, stored: &Stored, output: Output) -> Response {
    let Output { content_type, bytes } = output;
    let mut response = content::serve(bytes, Some(&content_type), &job.id.to_string());
    let headers = response.headers_mut();
    headers.insert(ATTEMPT, stored.attempt.into());
    if let Ok(outcome) = state_word(view::left_by(job, stored)).try_into() {
        headers.insert(OUTCOME, outcome);
    }
    response
}

/// The number of the attempt that an answer is of.
const ATTEMPT: HeaderName = HeaderName::from_static("jobwright-attempt");

/// How that attempt ended, in the word of its record.
const OUTCOME: HeaderName = HeaderName::from_static("jobwright-outcome");

/// The log of the latest attempt that wrote one, or of the attempt asked for.
pub(super) async fn logs(
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
        return Err(ApiError::not_found("attempt_not_found", detail));
    }
    // Those of many attempts are read.
    let attempts = u64::from(job.lifecycle.attempt).min(MAX_RECORDS as u64);
    let most = attempts.saturating_mul(job.spec.limits.log_bytes);
    let room = app.gates.answers.of(&caller.tenant).room(most).await?;
    let turn = app.gates.reads.of(&caller.tenant).acquire().await;
    let store = app.store.clone();
    let reading = async move { store.logs(id).await };
    let mut logs = detached::run((turn, room.clone()), reading).await??;
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
    app.has_room(now)?;
    app.keeps_pace(&caller.tenant, 1, now).await?;
    // A plugin that is just going must not gain a job.
    let plugin = &job.spec.plugin;
    let _stays = app.gates.intake.accepting(&caller.tenant, [plugin].into()).await;
    app.still_runs(&job.spec)?;
    let mut lifecycle = job.lifecycle.clone();
    if lifecycle.redrive(now) == Redrive::Running {
        return Err(running(id));
    }
    if lifecycle == job.lifecycle {
        return app.answer_to(&caller, StatusCode::ACCEPTED, id).await;
    }
    let _turn = app.audit(&caller, "job.retry", &id.to_string(), json!({})).await?;
    match app.store.redrive(id, now).await? {
        None => Err(unknown(id)),
        Some(Redriven::Due) => app.answer_to(&caller, StatusCode::ACCEPTED, id).await,
        Some(Redriven::QueueFull(full)) => Err(full.into()),
        Some(Redriven::Running) => Err(running(id)),
    }
}

impl App {
    /// Cancels `job`, as it was just read. What is over already is left alone.
    async fn request_cancel(
        &self,
        caller: &Caller,
        job: Job,
        now: Timestamp,
    ) -> Result<CancelRequest, ApiError> {
        let Job { id, mut lifecycle, .. } = job;
        let asked_before = lifecycle.cancel_requested_at.is_some();
        let mut _turn = None;
        match lifecycle.request_cancel(now) {
            over @ (CancelRequest::AlreadyCancelled | CancelRequest::Finalized(_)) => {
                return Ok(over);
            }
            // The attempt is only told again.
            _ if asked_before => {}
            _ => _turn = Some(self.audit(caller, "job.cancel", &id.to_string(), json!({})).await?),
        }
        self.store.request_cancel(id, now).await?.ok_or_else(|| unknown(id))
    }

    /// A job as an answer, with its output if that is JSON.
    async fn answer(
        &self,
        caller: &Caller,
        status: StatusCode,
        job: &Job,
    ) -> Result<Response, ApiError> {
        let stored = job
            .output
            .as_ref()
            .filter(|stored| job.has_completed() && is_json(&stored.content_type));
        let (json, room) = match stored {
            Some(stored) => {
                // As it is stored, as it is checked, and as it is sent.
                let room = self.gates.answers.of(&caller.tenant).room(3 * stored.bytes).await?;
                (self.read_output(&caller.tenant, job.id, &room).await?, Some(room))
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

    /// The output of a job, for which there is room.
    async fn read_output(
        &self,
        tenant: &TenantName,
        id: JobId,
        room: &Room,
    ) -> Result<Option<Output>, ApiError> {
        let turn = self.gates.reads.of(tenant).acquire().await;
        let store = self.store.clone();
        let reading = async move { store.output(id).await };
        Ok(detached::run((turn, room.clone()), reading).await??)
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
            return self.answer(caller, status, &job).await;
        }
        let (state, attempt) = (job.lifecycle.phase(self.clock.now()), job.lifecycle.attempt);
        let brief = Json(json!({ "id": id, "state": state, "attempt": attempt }));
        Ok((status, located(id), brief).into_response())
    }
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
