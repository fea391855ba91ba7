//! Uploads of plugins: they are inspected, compiled and published.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jobwright_core::access::Caller;
use jobwright_core::plugin::{Digest, Inspection, PluginName, Version};
use jobwright_core::registry::{Published, Upload};
use jobwright_core::tenant::TenantName;
use serde_json::json;

use super::app::App;
use super::http::auth::By;
use super::http::body::Received;
use super::http::error::ApiError;
use super::http::path::Path;
use super::http::problem_code::ProblemCode;
use super::http::query::Query;
use super::plugins::parse_name;

/// How long an upload waits for the inspection of earlier ones: less than common timeouts of clients.
const INSPECTION_WAIT: Duration = Duration::from_secs(30);

pub(super) async fn upload(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = parse_name(&name)?;
    let mut query = Query::of(request.uri());
    let version = query.parse("version", ProblemCode::InvalidVersion);
    query.finish()?;
    let (uploads, max) = (app.budgets.uploads.of(&caller.tenant), app.settings.plugin_bytes);
    let body = uploads.read(request.into(), "plugin", max).await?;
    app.still_admits(&caller, false)?;
    let upload = NamedUpload { name: name.clone(), version, body };
    let (status, version) = match publish(&app, &caller, upload).await? {
        Published::Created(version) => (StatusCode::CREATED, version),
        Published::Unchanged(version) => (StatusCode::OK, version),
        Published::Conflict(existing) => {
            let detail = format!(
                "{name}@{} exists with other bytes, {}: versions never change, so upload another one",
                existing.version, existing.digest
            );
            return Err(ApiError::new(ProblemCode::VersionTaken, detail));
        }
    };
    let url = format!("/v1/plugins/{name}/versions/{}", version.version);
    let view = app.version_view(&caller.tenant, &name, &version);
    let mut response = (status, Json(view)).into_response();
    if let Ok(url) = HeaderValue::from_str(&url) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    Ok(response)
}

/// An upload that was received. The body keeps its permit until the plugin is published.
struct NamedUpload {
    name: PluginName,
    version: Option<Version>,
    body: Received,
}

/// Inspects, compiles and publishes a plugin. Compiling takes long: if the client disconnects, the plugin is
/// published all the same, and the log has the result.
async fn publish(
    app: &App,
    caller: &Caller,
    NamedUpload { name, version, body }: NamedUpload,
) -> Result<Published, ApiError> {
    let wasm = body.bytes.clone();
    app.intake.has_disk_beside_jobs(app.parts.jobs.clock.now())?;
    let inspection = inspect(app, &caller.tenant, wasm.clone()).await?;
    let digest = Digest::of(&wasm);
    if let Err(unprepared) =
        app.parts.jobs.runtime.prepare(&caller.tenant, digest, wasm.clone()).await
    {
        tracing::info!(plugin = %name, %digest, %unprepared, "refused a plugin");
        return Err(unprepared.into());
    }
    let tenant = caller.tenant.clone();
    let tenant_bytes = app.parts.jobs.store.tenant(&tenant).await?.plugin_bytes;
    let detail = json!({ "version": version, "digest": digest });
    // `audit` checks the key again, as compiling may have taken minutes.
    let _permit = app.audit(caller, "plugin.upload", name.as_str(), detail).await?;
    let upload = Upload { tenant, tenant_bytes, name: name.clone(), version, wasm, inspection };
    let published = app.parts.registry.publish(upload, app.parts.jobs.clock.now()).await?;
    if let Published::Created(version) = &published {
        tracing::info!(plugin = %name, version = %version.version, %digest, "published a plugin");
    }
    Ok(published)
}

/// Inspects an upload, by `spawn_blocking`: it takes time in proportion to the length. The number of concurrent
/// inspections is bounded; compilations have a bound of their own.
async fn inspect(app: &App, tenant: &TenantName, wasm: Bytes) -> Result<Inspection, ApiError> {
    let share = app.budgets.inspections.of(tenant);
    let permit = tokio::time::timeout(INSPECTION_WAIT, share.acquire()).await;
    let permit = permit.map_err(|_| {
        let seconds = INSPECTION_WAIT.as_secs();
        let detail = format!("other uploads were inspected for {seconds} s; try again later");
        ApiError::busy(detail)
    })?;
    let runtime = app.parts.jobs.runtime.clone();
    let inspect = move || {
        // Until the inspection ends: it goes on if the client disconnects.
        let _permit = permit;
        runtime.inspect(&wasm)
    };
    let inspection = tokio::task::spawn_blocking(inspect).await;
    Ok(inspection.map_err(ApiError::internal)??)
}
