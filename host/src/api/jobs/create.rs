//! Accepting one job.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jobwright_core::access::Caller;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::hold::Facts;
use jobwright_core::job::{Idempotency, Job, JobId, JobSpec, NewJob, Payload};
use jobwright_core::lifecycle::Lifecycle;
use jobwright_core::plugin::{Digest, PluginRef, Selector};
use jobwright_core::store::Enqueued;
use jobwright_core::tenant::TenantName;

use super::draft::Draft;
use super::view::{self, JobView};
use crate::api::auth::By;
use crate::api::error::ApiError;
use crate::api::fields::utf8;
use crate::api::{App, wait};

/// How long an `Idempotency-Key` is remembered.
const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest `Idempotency-Key`, in bytes: what other interfaces take.
const MAX_KEY_BYTES: usize = 255;

/// What JSON adds to a payload at the most: base64's third, and room for the other fields.
pub(super) fn request_bytes(payload_bytes: u64) -> u64 {
    payload_bytes / 3 * 4 + (64 << 10)
}

/// How often a client that waits for room asks again while no hint comes.
const ROOM_POLL: Duration = Duration::from_millis(100);

pub(in crate::api) async fn create(
    State(app): State<App>,
    By(caller): By,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let raw = super::query::<Vec<(String, String)>>(&uri)?;
    let most = match raw.is_empty() {
        true => request_bytes(app.settings.payload_bytes),
        false => app.settings.payload_bytes,
    };
    let what = if raw.is_empty() { "request" } else { "payload" };
    let body = app.body(what, &headers, body, most).await?.bytes;
    let key = idempotency_key(&caller.tenant, &headers)?;
    let key = key.map(|key| (key, fingerprint(&uri, &headers, &body)));
    let now = app.clock.now();
    let wait = wait::preferred(&headers);
    let deadline = after(now, wait.unwrap_or_default());
    let wait = wait.map(|wait| (wait, deadline));
    // Before anything is checked: what was accepted once is answered so, whatever has changed since.
    if let Some((key, fingerprint)) = &key
        && let Some(answered) = app.store.answered(key, *fingerprint, now).await?
    {
        let (id, answer) = accepted(answered, None)?;
        return app.answer_enqueued(id, answer, wait).await;
    }
    app.keeps_pace(&caller.tenant, 1, now).await?;
    let draft = if raw.is_empty() {
        Draft::of_json(utf8(&body, "body")?, &app.settings, now)?
    } else {
        let payload = Payload { content_type: content_type(&headers), bytes: body };
        Draft::of_query(raw, payload, &app.settings, now)?
    };
    let job = app.resolve(&caller, draft, now)?;
    let (id, answer) = app.enqueue_by(job, key, (now, deadline), &headers).await?;
    app.answer_enqueued(id, answer, wait).await
}

/// The job that was accepted, now (then `first` is it) or before, and the body that says so.
fn accepted(enqueued: Enqueued, first: Option<(JobId, Bytes)>) -> Result<(JobId, Bytes), ApiError> {
    match enqueued {
        Enqueued::Inserted => first.ok_or_else(|| ApiError::internal("nothing was inserted")),
        Enqueued::Duplicate { id, answer } => Ok((id, answer)),
        Enqueued::QueueFull(full) => Err(full.into()),
        Enqueued::KeyReused => {
            let detail = "this Idempotency-Key was used for another request in the last 24 hours";
            Err(ApiError::unprocessable("idempotency_key_reused", detail))
        }
    }
}

impl App {
    /// The job that a draft asks for, with the plugin's version pinned as of now.
    pub(super) fn resolve(
        &self,
        caller: &Caller,
        draft: Draft,
        now: Timestamp,
    ) -> Result<NewJob, ApiError> {
        let found = self.registry.resolve(&caller.tenant, &draft.plugin)?;
        let (payload, scheduled_at) = (draft.payload.clone(), draft.scheduled_at);
        let spec = draft.resolve(found, caller.tenant.clone(), &self.settings)?;
        Ok(NewJob { id: JobId::new(now), spec, payload, scheduled_at, idempotency: None })
    }

    /// The body that accepts a job; known before the job is stored, so that a repeated request can
    /// be answered with it.
    fn first_answer(&self, job: &NewJob, now: Timestamp) -> Result<Vec<u8>, ApiError> {
        let job = Job {
            id: job.id,
            spec: job.spec.clone(),
            created_at: now,
            lifecycle: Lifecycle::new(job.scheduled_at.max(now)),
            attempts: vec![],
            output: None,
            progress: None,
        };
        serde_json::to_vec(&JobView::new(&job, None, now)).map_err(ApiError::internal)
    }

    /// Enqueues `now`, and waits until `deadline` for room if there is none. Answers the job and
    /// the body that says so.
    async fn enqueue_by(
        &self,
        mut job: NewJob,
        key: Option<(String, Digest)>,
        (mut now, deadline): (Timestamp, Timestamp),
        headers: &HeaderMap,
    ) -> Result<(JobId, Bytes), ApiError> {
        let mut place = None;
        loop {
            let room = self.signals.room.notified();
            // With the time at which the store takes the job.
            let answer = Bytes::from(self.first_answer(&job, now)?);
            job.idempotency = key.clone().map(|(key, fingerprint)| Idempotency {
                key,
                fingerprint,
                answer: answer.clone(),
                expires_at: after(now, KEY_LIFE),
            });
            match self.enqueue_now(job.clone(), now).await? {
                Enqueued::QueueFull(_) if now < deadline => {}
                enqueued => return accepted(enqueued, Some((job.id, answer))),
            }
            if place.is_none() {
                place = Some(self.signals.waiters.place().map_err(ApiError::busy)?);
            }
            tokio::select! {
                () = room => {}
                () = self.clock.sleep_until(after(now, ROOM_POLL).min(deadline)) => {}
            }
            now = self.clock.now();
            self.admits(headers, false)?;
        }
    }

    async fn enqueue_now(&self, job: NewJob, now: Timestamp) -> Result<Enqueued, ApiError> {
        self.gates.disk.has_room(now)?;
        let _stays = self.gates.removal.read().await;
        self.still_runs(&job.spec)?;
        let answer = self.store.enqueue(vec![job], now).await?.pop();
        answer.ok_or_else(|| ApiError::internal("the store answered no enqueue"))
    }

    /// Checks, while no plugin can be removed, that a job's code is still there, and switched on.
    pub(super) fn still_runs(&self, spec: &JobSpec) -> Result<(), ApiError> {
        let (name, selector) = (spec.plugin.clone(), Selector::Digest(spec.digest));
        self.registry.resolve(&spec.tenant, &PluginRef { name, selector })?;
        self.is_on(&Facts::from(spec))
    }

    async fn answer_enqueued(
        &self,
        id: JobId,
        accepted: Bytes,
        wait: Option<(Duration, Timestamp)>,
    ) -> Result<Response, ApiError> {
        let found = match wait {
            None => None,
            // It was accepted, whatever keeps this host from waiting for its end.
            Some((_, deadline)) => self.finalized_by(id, deadline).await.unwrap_or_default(),
        };
        let mut response = match found {
            Some(job) => {
                let over = job.lifecycle.state.is_finalized();
                let status = if over { StatusCode::OK } else { StatusCode::ACCEPTED };
                // It was accepted, also if there is no room to show what became of it.
                let shown = self.answer(status, &job).await;
                shown.unwrap_or_else(|_| (StatusCode::ACCEPTED, accepted).into_response())
            }
            None => (StatusCode::ACCEPTED, accepted).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(url) = HeaderValue::from_str(&view::url(id)) {
            headers.insert(header::LOCATION, url);
        }
        wait::tell_applied(&mut response, wait.map(|(wait, _)| wait));
        Ok(response)
    }
}

/// The key, as the store knows it: those of one tenant are not those of another.
fn idempotency_key(tenant: &TenantName, headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_KEY_BYTES).contains(&key.len()) => {
            Ok(Some(Idempotency::key_of(tenant, key)))
        }
        _ => Err(ApiError::bad_request(
            "invalid_idempotency_key",
            format!("an Idempotency-Key is 1 to {MAX_KEY_BYTES} visible ASCII characters"),
        )),
    }
}

/// What makes two requests the same: where they go and what they carry.
fn fingerprint(uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Digest {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let kind = content_type(headers).unwrap_or_default();
    Digest::of(&[target.as_bytes(), kind.as_bytes(), body].join(&b'\n'))
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}
