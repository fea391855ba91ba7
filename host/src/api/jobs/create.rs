//! Accepting one job.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use jobwright_core::access::Caller;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::hold::Facts;
use jobwright_core::job::{Job, JobId, JobSpec, NewJob, Payload};
use jobwright_core::lifecycle::Lifecycle;
use jobwright_core::plugin::{PluginRef, Selector};
use jobwright_core::store::Enqueued;
use jobwright_core::tenant::TenantName;

use super::draft::{Draft, When};
use super::idempotency::{self, Key};
use super::replay::Accepted;
use super::view::JobView;
use crate::api::app::App;
use crate::api::http::auth::By;
use crate::api::http::body::Received;
use crate::api::http::error::ApiError;
use crate::api::http::fields::{Fields, utf8};
use crate::api::http::pairs::pairs;
use crate::api::http::wait;
use crate::api::settings::ApiSettings;
use crate::detached;

/// How often a client that waits for room asks again while no hint comes.
const ROOM_POLL: Duration = Duration::from_millis(100);

pub(in crate::api) async fn create(
    State(app): State<App>,
    By(caller): By,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (what, most) = match uri.query().unwrap_or_default() {
        "" => ("job", app.settings.job_bytes()),
        _ => ("payload", app.settings.payload_bytes),
    };
    let body = Arc::new(app.body(&caller, what, &headers, body, most).await?);
    let request = Submission::of(&caller.tenant, &uri, &headers, body.bytes.clone())?;
    let now = app.clock.now();
    let wait = wait::preferred(&headers);
    let deadline = after(now, wait.unwrap_or_default());
    // Before anything is checked: what was accepted once is answered so, whatever has changed since.
    let accepted = match app.accepted_before(request.key.as_ref(), now).await? {
        Some(accepted) => accepted,
        None => {
            app.keeps_pace(&caller.tenant, 1, now).await?;
            let key = request.key.clone();
            let job = app.resolve(&caller, request.draft(&app.settings, now)?, now)?;
            let order = Order { job, key, body: body.clone(), deadline };
            app.enqueue_by(&caller, order, now).await?
        }
    };
    drop(body);
    let mut response = app.answer_accepted(&caller, accepted, wait.map(|_| deadline)).await?;
    wait::tell_applied(&mut response, wait);
    Ok(response)
}

/// A job that is to be accepted.
struct Order {
    job: NewJob,
    key: Option<Key>,
    /// Has its room until the job is stored or refused.
    body: Arc<Received>,
    /// Until when it waits for room in the queue.
    deadline: Timestamp,
}

/// A request for a job: its fields are in the body or, with the payload as the body, in the query.
pub(super) struct Submission {
    fields: Fields,
    /// The body, if that is the payload.
    payload: Option<Payload>,
    /// The idempotency key.
    pub(super) key: Option<Key>,
}

impl Submission {
    fn of(
        tenant: &TenantName,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Self, ApiError> {
        let content_type = content_type(headers);
        let mut key = idempotency::of_headers(headers)?;
        let query = pairs(uri);
        let is_json = query.is_empty();
        let fields = if is_json {
            let mut fields = Fields::of_json(utf8(&body, "body")?, "body")?;
            key = idempotency::of_fields(&mut fields, key.as_deref()).or(key);
            fields
        } else {
            Fields::of_query(query, &["arg", "tag"])
        };
        let key = key.map(|key| {
            let kind = content_type.as_deref().unwrap_or_default();
            let said = if is_json { idempotency::without_key(&body) } else { Cow::from(&body[..]) };
            Key::new(tenant, &key, idempotency::of_request(uri, kind, &said))
        });
        let payload = (!is_json).then(|| Payload { content_type, bytes: body });
        Ok(Self { fields, payload, key })
    }

    /// A job among many, as JSON.
    pub(super) fn of_entry(tenant: &TenantName, text: &str) -> Result<Self, ApiError> {
        let mut fields = Fields::of_json(text, "body")?;
        let key = idempotency::of_fields(&mut fields, None);
        let key = key.map(|key| Key::new(tenant, &key, idempotency::of_job(text)));
        Ok(Self { fields, payload: None, key })
    }

    pub(super) fn draft(self, settings: &ApiSettings, now: Timestamp) -> Result<Draft, ApiError> {
        match self.payload {
            Some(payload) => Draft::build(self.fields, payload, settings, now),
            None => Draft::of_json(self.fields, settings, now),
        }
    }
}

impl App {
    /// The job that was accepted under this key before.
    pub(super) async fn accepted_before(
        &self,
        key: Option<&Key>,
        now: Timestamp,
    ) -> Result<Option<Accepted>, ApiError> {
        let Some(Key { key, fingerprint }) = key else { return Ok(None) };
        let answered = self.store.answered(key, *fingerprint, now).await?;
        answered.map(|answered| Accepted::of(answered, None)).transpose()
    }

    /// The job that a draft asks for, with the plugin's version pinned as of now.
    pub(super) fn resolve(
        &self,
        caller: &Caller,
        draft: Draft,
        now: Timestamp,
    ) -> Result<NewJob, ApiError> {
        let found = self.registry.resolve(&caller.tenant, &draft.plugin)?;
        let (payload, When { at, on_wall }) = (draft.payload.clone(), draft.when);
        let spec = draft.resolve(found, caller, &self.settings)?;
        // A time of the wall clock that has passed means now.
        let on_wall = on_wall && at > self.clock.wall();
        let scheduled_at = if on_wall { at } else { at.max(now) };
        let id = JobId::new(now);
        Ok(NewJob { id, spec, payload, scheduled_at, on_wall, idempotency: None })
    }

    /// The body that accepts a job; known before the job is stored, so that a repeated request can
    /// be answered with it.
    pub(super) fn first_answer(&self, job: &NewJob, now: Timestamp) -> Result<Bytes, ApiError> {
        let job = Job {
            id: job.id,
            spec: job.spec.clone(),
            created_at: now,
            lifecycle: Lifecycle::new(job.due_at(now)),
            attempts: vec![],
            output: None,
            progress: None,
        };
        let view = serde_json::to_vec(&JobView::new(&job, None, now));
        view.map(Bytes::from).map_err(ApiError::internal)
    }

    /// Enqueues `now`, and waits until the deadline for room if there is none.
    async fn enqueue_by(
        &self,
        caller: &Caller,
        mut order: Order,
        mut now: Timestamp,
    ) -> Result<Accepted, ApiError> {
        let mut place = None;
        loop {
            let room = self.wake_ups.room.notified();
            // With the time at which the store takes the job.
            let answer = self.first_answer(&order.job, now)?;
            let remember = |key: Key| key.remember(answer.clone(), now);
            order.job.idempotency = order.key.clone().map(remember);
            match self.enqueue_now(caller, &order, now).await? {
                Enqueued::QueueFull(_) if now < order.deadline => {}
                enqueued => return Accepted::of(enqueued, Some((order.job.id, answer))),
            }
            if place.is_none() {
                place = Some(self.wake_ups.waiters.place(&caller.tenant).map_err(ApiError::busy)?);
            }
            tokio::select! {
                () = room => {}
                () = self.clock.sleep_until(after(now, ROOM_POLL).min(order.deadline)) => {}
            }
            now = self.clock.now();
        }
    }

    async fn enqueue_now(
        &self,
        caller: &Caller,
        order: &Order,
        now: Timestamp,
    ) -> Result<Enqueued, ApiError> {
        self.has_room(now)?;
        let Order { job, body, .. } = order;
        let plugins = [&job.spec.plugin].into();
        let stays = self.gates.intake.accepting(&caller.tenant, plugins).await;
        self.still_runs(&job.spec)?;
        self.still_admits(caller, false)?;
        let (store, jobs) = (self.store.clone(), vec![job.clone()]);
        let enqueuing = async move { store.enqueue(jobs, now).await };
        // The store may still take the job when the client has gone: its plugin stays until then.
        let answer = detached::run((stays, body.clone()), enqueuing).await??.pop();
        answer.ok_or_else(|| ApiError::internal("the store answered no enqueue"))
    }

    /// Checks, while no plugin can be removed, that a job's code is still there, and switched on.
    pub(super) fn still_runs(&self, spec: &JobSpec) -> Result<(), ApiError> {
        let (name, selector) = (spec.plugin.clone(), Selector::Digest(spec.digest));
        self.registry.resolve(&spec.tenant, &PluginRef { name, selector })?;
        self.is_on(&Facts::from(spec))
    }
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}
