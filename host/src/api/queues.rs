//! Queues: their depths, pausing and resuming.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use jobwright_core::access::Caller;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::QueueName;
use jobwright_core::queue::QueueCounts;
use jobwright_core::tenant::TenantName;
use serde::Serialize;
use serde_json::{Value, json};

use super::app::App;
use super::disabled::with_reason;
use super::http::auth::By;
use super::http::body::RawBody;
use super::http::error::ApiError;
use super::http::fields::{Fields, utf8};
use super::http::path::Path;
use super::http::problem_code::ProblemCode;
use crate::detached;

/// The longest body, in bytes: a reason.
const MAX_BYTES: u64 = 4 << 10;

/// A queue without jobs can be paused only while the tenant has fewer queues. The number of queues with jobs is
/// bounded by the number of jobs, but paused queues need none.
const MAX_QUEUES: usize = 1000;

/// A queue as clients see it.
#[derive(Serialize)]
pub(super) struct QueueView {
    #[serde(flatten)]
    counts: QueueCounts,
    /// The note of the pause, if the queue is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<HoldNote>,
}

pub(super) async fn list(State(app): State<App>, By(caller): By) -> Result<Json<Value>, ApiError> {
    let (all, holds) = (all(&app, &caller.tenant).await?, app.parts.jobs.store.holds().await?);
    let queues: Vec<_> = all.into_iter().map(|counts| QueueView::new(counts, &holds)).collect();
    Ok(Json(json!({ "queues": queues })))
}

pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Json<QueueView>, ApiError> {
    shown(&app, &caller.tenant, &parse(&name)?).await
}

pub(super) async fn pause(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    body: RawBody,
) -> Result<Json<QueueView>, ApiError> {
    let body = app.body(&caller, body, "request", MAX_BYTES).await?.bytes;
    let mut fields = Fields::of_optional_json(utf8(&body, "request")?, "request")?;
    let note = with_reason(&mut fields, app.note(&caller));
    let errors = fields.into_errors("is not a field of this request");
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let queue = parse(&name)?;
    let known = all(&app, &caller.tenant).await?;
    if known.len() >= MAX_QUEUES && known.iter().all(|known| known.name != queue) {
        let detail = format!(
            "{MAX_QUEUES} queues have jobs or are paused, the maximum: resume or empty some first"
        );
        return Err(ApiError::new(ProblemCode::TooManyQueues, detail));
    }
    set_held(&app, &caller, queue, Some(note)).await
}

pub(super) async fn resume(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Json<QueueView>, ApiError> {
    set_held(&app, &caller, parse(&name)?, None).await
}

/// Pauses a queue, with a note, or resumes it. Does nothing if the queue is in this state already, unless the
/// reason changes.
async fn set_held(
    app: &App,
    caller: &Caller,
    queue: QueueName,
    note: Option<HoldNote>,
) -> Result<Json<QueueView>, ApiError> {
    let hold = Hold::Queue { tenant: caller.tenant.clone(), queue: queue.clone() };
    let holds = app.parts.jobs.store.holds().await?;
    let is_change = match (&note, holds.get(&hold)) {
        (None, old) => old.is_some(),
        (Some(_), None) => true,
        (Some(note), Some(old)) => note.reason.is_some() && note.reason != old.reason,
    };
    if is_change {
        let (action, detail) = match &note {
            Some(note) => ("queue.pause", json!({ "reason": note.reason })),
            None => ("queue.resume", json!({})),
        };
        let _permit = app.audit(caller, action, queue.as_str(), detail).await?;
        app.parts.jobs.store.set_held(hold, note).await?;
    }
    shown(app, &caller.tenant, &queue).await
}

impl QueueView {
    fn new(counts: QueueCounts, holds: &BTreeMap<Hold, HoldNote>) -> Self {
        let hold = Hold::Queue { tenant: counts.tenant.clone(), queue: counts.name.clone() };
        // The depth that `capacity` bounds, as in the error of a full queue; jobs that are not due are `parked`.
        let depth = counts.depth.saturating_sub(counts.parked) + counts.running;
        let counts = QueueCounts { depth, ..counts };
        Self { pause: holds.get(&hold).cloned(), counts }
    }
}

/// A queue as clients see it. Queues are created by their first job, so a queue without jobs is shown as empty
/// and is not an error.
async fn shown(
    app: &App,
    tenant: &TenantName,
    name: &QueueName,
) -> Result<Json<QueueView>, ApiError> {
    let (all, holds) = (all(app, tenant).await?, app.parts.jobs.store.holds().await?);
    let limits = &app.settings.capacity;
    let empty = || QueueCounts::empty(tenant.clone(), name.clone(), limits);
    let counts = all.into_iter().find(|queue| &queue.name == name).unwrap_or_else(empty);
    Ok(Json(QueueView::new(counts, &holds)))
}

/// All queues of a tenant with unfinished jobs or a pause, and `default`, which always exists.
async fn all(app: &App, tenant: &TenantName) -> Result<Vec<QueueCounts>, ApiError> {
    // The permit limits the load on the store's writer, which counts the jobs.
    let permit = app.budgets.listings.of(tenant).acquire().await;
    let (store, now) = (app.parts.jobs.store.clone(), app.parts.jobs.clock.now());
    let mut queues = detached::run(permit, async move { store.counts(now).await }).await??;
    queues.retain(|queue| &queue.tenant == tenant);
    let default = QueueName::default();
    if let Err(position) = queues.binary_search_by(|queue| queue.name.cmp(&default)) {
        let empty = QueueCounts::empty(tenant.clone(), default, &app.settings.capacity);
        queues.insert(position, empty);
    }
    Ok(queues)
}

fn parse(name: &str) -> Result<QueueName, ApiError> {
    name.parse().map_err(|error| ApiError::new(ProblemCode::InvalidName, error))
}
