//! Queues: what they hold, and whether claims pass them by.

use axum::Json;
use axum::extract::State;
use jobwright_core::access::Caller;
use jobwright_core::hold::Hold;
use jobwright_core::job::QueueName;
use jobwright_core::queue::QueueCounts;
use jobwright_core::tenant::TenantName;
use serde_json::{Value, json};

use super::App;
use super::auth::By;
use super::error::ApiError;
use super::path::Path;

/// A queue that does not exist yet can be paused only while fewer than so many do: jobs are bounded,
/// and with them the queues that have some, but a paused one needs none.
const MAX_QUEUES: usize = 1000;

pub(super) async fn list(State(app): State<App>, By(caller): By) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "queues": all(&app, &caller.tenant).await? })))
}

pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Json<QueueCounts>, ApiError> {
    counts(&app, &caller.tenant, &parse(&name)?).await.map(Json)
}

pub(super) async fn pause(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Json<QueueCounts>, ApiError> {
    set_paused(&app, &caller, &name, true).await
}

pub(super) async fn resume(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Json<QueueCounts>, ApiError> {
    set_paused(&app, &caller, &name, false).await
}

async fn set_paused(
    app: &App,
    caller: &Caller,
    name: &str,
    paused: bool,
) -> Result<Json<QueueCounts>, ApiError> {
    let (queue, tenant) = (parse(name)?, caller.tenant.clone());
    let known = all(app, &tenant).await?;
    let there = known.iter().find(|known| known.name == queue);
    if there.is_some_and(|there| there.paused) == paused {
        return counts(app, &tenant, &queue).await.map(Json);
    }
    if paused && known.len() >= MAX_QUEUES && there.is_none() {
        let detail = format!("{MAX_QUEUES} queues have jobs or are paused; resume or empty some");
        return Err(ApiError::conflict("too_many_queues", detail));
    }
    let action = if paused { "queue.pause" } else { "queue.resume" };
    app.audit(caller, action, name, json!({})).await?;
    let hold = Hold::Queue { tenant: tenant.clone(), queue: queue.clone() };
    app.store.set_held(hold, paused).await?;
    counts(app, &tenant, &queue).await.map(Json)
}

/// What the queue holds. Queues come into being with their first job, so every name is one: a queue
/// without jobs is empty, not missing.
async fn counts(app: &App, tenant: &TenantName, name: &QueueName) -> Result<QueueCounts, ApiError> {
    let all = all(app, tenant).await?;
    let capacity = app.settings.queue_capacity;
    let empty = || QueueCounts::empty(tenant.clone(), name.clone(), capacity);
    Ok(all.into_iter().find(|queue| &queue.name == name).unwrap_or_else(empty))
}

/// Every queue of a tenant that has unfinished jobs or is paused, and `default`, which always exists.
async fn all(app: &App, tenant: &TenantName) -> Result<Vec<QueueCounts>, ApiError> {
    let mut queues = app.store.counts(app.clock.now()).await?;
    queues.retain(|queue| &queue.tenant == tenant);
    let default = QueueName::default();
    if let Err(place) = queues.binary_search_by(|queue| queue.name.cmp(&default)) {
        let capacity = app.settings.queue_capacity;
        queues.insert(place, QueueCounts::empty(tenant.clone(), default, capacity));
    }
    Ok(queues)
}

fn parse(name: &str) -> Result<QueueName, ApiError> {
    name.parse().map_err(|error| ApiError::bad_request("invalid_name", error))
}
