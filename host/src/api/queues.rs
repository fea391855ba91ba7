//! Queues: what they hold, and whether claims pass them by.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use jobwright_core::access::Caller;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::QueueName;
use jobwright_core::queue::QueueCounts;
use jobwright_core::tenant::TenantName;
use serde::Serialize;
use serde_json::{Value, json};

use super::app::App;
use super::disabled::noted;
use super::http::auth::By;
use super::http::error::ApiError;
use super::http::fields::{Fields, utf8};
use super::http::path::Path;
use crate::detached;

/// The longest request, in bytes: a reason.
const MAX_BYTES: u64 = 4 << 10;

/// A queue that does not exist yet can be paused only while fewer than so many do: jobs are bounded,
/// and with them the queues that have some, but a paused one needs none.
const MAX_QUEUES: usize = 1000;

/// A queue as it is shown: what it holds, and who paused it.
#[derive(Serialize)]
pub(super) struct QueueView {
    #[serde(flatten)]
    counts: QueueCounts,
    /// Only of a paused queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<HoldNote>,
}

pub(super) async fn list(State(app): State<App>, By(caller): By) -> Result<Json<Value>, ApiError> {
    let (all, holds) = (all(&app, &caller.tenant).await?, app.store.holds().await?);
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
    headers: HeaderMap,
    body: Body,
) -> Result<Json<QueueView>, ApiError> {
    let body = app.body(&caller, "request", &headers, body, MAX_BYTES).await?.bytes;
    let mut fields = Fields::of_optional_json(utf8(&body, "request")?, "request")?;
    let note = noted(&mut fields, app.note(&caller));
    let errors = fields.into_errors("is not a field of this request");
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let queue = parse(&name)?;
    let known = all(&app, &caller.tenant).await?;
    if known.len() >= MAX_QUEUES && known.iter().all(|known| known.name != queue) {
        let detail = format!("{MAX_QUEUES} queues have jobs or are paused; resume or empty some");
        return Err(ApiError::conflict("too_many_queues", detail));
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

/// Pauses a queue, with a note, or resumes it. Does nothing if it is so already, unless there is
/// another reason to note.
async fn set_held(
    app: &App,
    caller: &Caller,
    queue: QueueName,
    note: Option<HoldNote>,
) -> Result<Json<QueueView>, ApiError> {
    let hold = Hold::Queue { tenant: caller.tenant.clone(), queue: queue.clone() };
    let holds = app.store.holds().await?;
    let is_news = match (&note, holds.get(&hold)) {
        (None, there) => there.is_some(),
        (Some(_), None) => true,
        (Some(note), Some(there)) => note.reason.is_some() && note.reason != there.reason,
    };
    if is_news {
        let (action, detail) = match &note {
            Some(note) => ("queue.pause", json!({ "reason": note.reason })),
            None => ("queue.resume", json!({})),
        };
        let _turn = app.audit(caller, action, queue.as_str(), detail).await?;
        app.store.set_held(hold, note).await?;
    }
    shown(app, &caller.tenant, &queue).await
}

impl QueueView {
    fn new(counts: QueueCounts, holds: &BTreeMap<Hold, HoldNote>) -> Self {
        let hold = Hold::Queue { tenant: counts.tenant.clone(), queue: counts.name.clone() };
        // What `capacity` bounds, as in the refusal of a full queue; what is not due is `parked`.
        let depth = counts.depth.saturating_sub(counts.parked) + counts.running;
        let counts = QueueCounts { depth, ..counts };
        Self { pause: holds.get(&hold).cloned(), counts }
    }
}

/// A queue. Queues come into being with their first job, so every name is one: a queue without jobs
/// is empty, not missing.
async fn shown(
    app: &App,
    tenant: &TenantName,
    name: &QueueName,
) -> Result<Json<QueueView>, ApiError> {
    let (all, holds) = (all(app, tenant).await?, app.store.holds().await?);
    let limits = &app.settings.capacity;
    let empty = || QueueCounts::empty(tenant.clone(), name.clone(), limits);
    let counts = all.into_iter().find(|queue| &queue.name == name).unwrap_or_else(empty);
    Ok(Json(QueueView::new(counts, &holds)))
}

/// Every queue of a tenant that has unfinished jobs or is paused, and `default`, which always exists.
async fn all(app: &App, tenant: &TenantName) -> Result<Vec<QueueCounts>, ApiError> {
    // They are counted by the store's writer, which must have time for others.
    let turn = app.gates.listings.of(tenant).acquire().await;
    let (store, now) = (app.store.clone(), app.clock.now());
    let mut queues = detached::run(turn, async move { store.counts(now).await }).await??;
    queues.retain(|queue| &queue.tenant == tenant);
    let default = QueueName::default();
    if let Err(place) = queues.binary_search_by(|queue| queue.name.cmp(&default)) {
        let empty = QueueCounts::empty(tenant.clone(), default, &app.settings.capacity);
        queues.insert(place, empty);
    }
    Ok(queues)
}

fn parse(name: &str) -> Result<QueueName, ApiError> {
    name.parse().map_err(|error| ApiError::bad_request("invalid_name", error))
}
