//! Plugins: uploaded, shown and removed.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jobwright_core::access::Caller;
use jobwright_core::hold::Hold;
use jobwright_core::job::{Job, MAX_LOST, Phase};
use jobwright_core::plugin::{
    Digest, Inspection, Plugin, PluginName, PluginRef, PluginVersion, Selector, Version,
};
use jobwright_core::registry::{NotFound, Published, Upload};
use jobwright_core::store::{JobFilter, Page};
use jobwright_core::tenant::TenantName;
use serde_json::{Value, json};

use super::app::App;
use super::http::auth::By;
use super::http::body::Received;
use super::http::content;
use super::http::error::ApiError;
use super::http::path::Path;
use super::http::query::Query;
use crate::detached;

/// Plugins on one page.
const PAGE: usize = 100;

/// How long an upload waits for those before it to be inspected: less than clients commonly wait for an
/// answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lost jobs that are shown of a plugin: one is a reason to look, and these say more.
const LOST_SHOWN: usize = 10;

pub(super) async fn upload(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let name = parse_name(&name)?;
    let mut query = Query::of(&uri);
    let version = query.parse("version", "invalid_version");
    query.finish()?;
    let body = app
        .gates
        .plugins
        .of(&caller.tenant)
        .read("plugin", &headers, body, app.settings.plugin_bytes)
        .await?;
    app.still_admits(&caller, false)?;
    let (status, version) = match publish(&app, &caller, (name.clone(), version), body).await? {
        Published::Created(version) => (StatusCode::CREATED, version),
        Published::Unchanged(version) => (StatusCode::OK, version),
        Published::Conflict(there) => {
            let detail = format!(
                "{name}@{} holds other bytes, {}: versions never change, so upload another one",
                there.version, there.digest
            );
            return Err(ApiError::conflict("version_taken", detail));
        }
    };
    let url = format!("/v1/plugins/{name}/versions/{}", version.version);
    let view = app.version_view((&caller.tenant, &name), &version);
    let mut response = (status, Json(view)).into_response();
    if let Ok(url) = HeaderValue::from_str(&url) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    Ok(response)
}

/// Compiling takes long: a client that does not wait for the answer finds its plugin there all the same,
/// and the log says what became of it. `body` has a place among the bodies, which it keeps until the end.
async fn publish(
    app: &App,
    caller: &Caller,
    (name, version): (PluginName, Option<Version>),
    body: Received,
) -> Result<Published, ApiError> {
    let wasm = body.bytes.clone();
    app.intake.has_disk_beside_jobs(app.clock.now())?;
    let inspection = inspect(app, &caller.tenant, wasm.clone()).await?;
    let digest = Digest::of(&wasm);
    if let Err(unprepared) = app.runtime.prepare(&caller.tenant, digest, wasm.clone()).await {
        tracing::info!(plugin = %name, %digest, %unprepared, "refused a plugin");
        return Err(unprepared.into());
    }
    let tenant = caller.tenant.clone();
    let tenant_bytes = app.store.tenant(&tenant).await?.plugin_bytes;
    let detail = json!({ "version": version, "digest": digest });
    // Compiling may have taken minutes: the key is checked again here.
    let _turn = app.audit(caller, "plugin.upload", name.as_str(), detail).await?;
    let upload = Upload { tenant, tenant_bytes, name: name.clone(), version, wasm, inspection };
    let published = app.registry.publish(upload, app.clock.now()).await?;
    if let Published::Created(version) = &published {
        tracing::info!(plugin = %name, version = %version.version, %digest, "published a plugin");
    }
    Ok(published)
}

/// Takes turns, not with what is compiled, which takes long and has turns of its own.
async fn inspect(app: &App, tenant: &TenantName, wasm: Bytes) -> Result<Inspection, ApiError> {
    let share = app.gates.inspections.of(tenant);
    let turn = tokio::time::timeout(PATIENCE, share.acquire()).await;
    let turn =
        turn.map_err(|_| ApiError::busy("other plugins are being uploaded: try again later"))?;
    let runtime = app.runtime.clone();
    // It takes time in proportion to the length, so not on a thread that answers requests.
    let inspecting = move || {
        // To its end, also if the client goes away.
        let _turn = turn;
        runtime.inspect(&wasm)
    };
    let inspection = tokio::task::spawn_blocking(inspecting).await;
    Ok(inspection.map_err(ApiError::internal)??)
}

pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, ApiError> {
    let mut query = Query::of(&uri);
    let after: Option<PluginName> = query.parse("cursor", "invalid_name");
    query.finish()?;
    let page = || app.registry.list(&caller.tenant, after.as_ref(), PAGE);
    let most = page().iter().map(view_bytes).sum();
    let room = app.gates.answers.of(&caller.tenant).room(most).await?;
    let plugins = page();
    let next = (plugins.len() == PAGE).then(|| plugins.last().map(|p| p.name.clone())).flatten();
    let plugins: Vec<Value> = plugins.iter().map(|plugin| app.plugin_view(plugin)).collect();
    Ok(room.with(Json(json!({ "plugins": plugins, "next_cursor": next })).into_response()))
}

pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let name = parse_name(&name)?;
    app.installed(&caller, &name)?;
    let lost = app.lost_jobs(&caller.tenant, &name).await;
    let most = view_bytes(&app.installed(&caller, &name)?);
    let room = app.gates.answers.of(&caller.tenant).room(most).await?;
    Ok(room.with(Json(app.shown(&app.installed(&caller, &name)?, lost)).into_response()))
}

pub(super) async fn show_version(
    State(app): State<App>,
    By(caller): By,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let name = parse_name(&name)?;
    let version = app.version(&caller, &name, &version)?;
    Ok(Json(app.version_view((&caller.tenant, &name), &version)))
}

pub(super) async fn wasm(
    State(app): State<App>,
    By(caller): By,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let name = parse_name(&name)?;
    let version = app.version(&caller, &name, &version)?;
    let missing = || ApiError::internal(format!("the bytes of {} are gone", version.digest));
    let bytes = app.registry.open(&version.digest).await?.ok_or_else(missing)?;
    let whole = content::Whole { length: version.size_bytes, digest: version.digest };
    let name = format!("{name}-{}.wasm", version.version);
    Ok(content::serve_in_pieces(bytes, &whole, "application/wasm", &name))
}

pub(super) async fn remove(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.remove(caller, parse_name(&name)?, None).await
}

pub(super) async fn remove_version(
    State(app): State<App>,
    By(caller): By,
    Path((name, version)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let name = parse_name(&name)?;
    let version = app.version(&caller, &name, &version)?.version;
    app.remove(caller, name, Some(version)).await
}

impl App {
    /// A plugin of the caller's tenant.
    pub(super) fn installed(&self, caller: &Caller, name: &PluginName) -> Result<Plugin, ApiError> {
        let plugin = self.registry.get(&caller.tenant, name);
        Ok(plugin.ok_or_else(|| NotFound::Plugin(name.clone()))?)
    }

    /// A version of it.
    pub(super) fn version(
        &self,
        caller: &Caller,
        name: &PluginName,
        version: &str,
    ) -> Result<PluginVersion, ApiError> {
        let selector = Selector::Exact(parse_version(version)?);
        let reference = PluginRef { name: name.clone(), selector };
        Ok(self.registry.resolve(&caller.tenant, &reference)?.version)
    }

    async fn remove(
        &self,
        caller: Caller,
        name: PluginName,
        version: Option<Version>,
    ) -> Result<StatusCode, ApiError> {
        self.installed(&caller, &name)?;
        self.no_job_needs(&caller.tenant, &name, version.as_ref())?;
        let gate = self.intake.plugins.gate(&caller.tenant, &name);
        let _alone = gate.change().await;
        // Before there is a turn, for which a submission may wait that holds the gate.
        let _removing = gate.remove().await;
        // A job may have been accepted meanwhile.
        self.no_job_needs(&caller.tenant, &name, version.as_ref())?;
        let detail = json!({ "version": version });
        let _turn = self.audit(&caller, "plugin.remove", name.as_str(), detail).await?;
        let removed = self.registry.remove(&caller.tenant, &name, version.as_ref()).await;
        if self.registry.get(&caller.tenant, &name).is_none() {
            // Another plugin may have the name next, also if not all of this one could be removed.
            self.grantor.forget(&caller.tenant, &name).await;
        }
        if removed? { Ok(StatusCode::NO_CONTENT) } else { Err(NotFound::Plugin(name).into()) }
    }

    /// Refuses to remove what unfinished jobs need.
    fn no_job_needs(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        version: Option<&Version>,
    ) -> Result<(), ApiError> {
        let jobs = self.store.uses(tenant, name, version);
        if jobs == 0 {
            return Ok(());
        }
        let version = version.map(|version| format!("@{version}")).unwrap_or_default();
        let (are, s) = if jobs == 1 { ("needs", "") } else { ("need", "s") };
        let detail = format!(
            "{jobs} unfinished job{s} still {are} {name}{version}: wait for them, or cancel them"
        );
        Err(ApiError::conflict("plugin_in_use", detail))
    }
}

impl App {
    /// A plugin with all that is known of it. `lost` waits for a turn, so it is looked up before the rest
    /// is made, which may be long.
    pub(super) fn shown(&self, plugin: &Plugin, lost: Option<Vec<Value>>) -> Value {
        let mut view = self.plugin_view(plugin);
        view["lost_jobs"] = lost.into();
        view
    }

    /// The latest jobs of a plugin that were running each time a host died, until they were discarded:
    /// what speaks against it. `None` while the store of jobs is away: plugins can be looked at then too.
    pub(super) async fn lost_jobs(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
    ) -> Option<Vec<Value>> {
        let filter = JobFilter {
            tenant: Some(tenant.clone()),
            plugin: Some(plugin.clone()),
            phase: Some(Phase::Discarded),
            ..JobFilter::default()
        };
        let page = Page { before: None, most: PAGE };
        let turn = self.gates.listings.of(tenant).acquire().await;
        let (store, now) = (self.store.clone(), self.clock.now());
        let listing = async move { store.list(filter, page, now).await };
        let discarded = detached::run(turn, listing).await.ok()?.ok()?.jobs;
        let lost = discarded.into_iter().filter(|job| job.lifecycle.lost >= MAX_LOST);
        let view = |job: Job| {
            let at = job.lifecycle.finalized_at;
            json!({ "id": job.id, "version": job.spec.version, "finalized_at": at })
        };
        Some(lost.take(LOST_SHOWN).map(view).collect())
    }

    fn plugin_view(&self, plugin: &Plugin) -> Value {
        let Plugin { tenant, name, settings, versions } = plugin;
        let default = plugin.select(&Selector::Default).map(|v| v.version.to_string());
        let versions = versions.iter().map(|version| self.version_view((tenant, name), version));
        let off = Hold::Plugin { tenant: tenant.clone(), plugin: name.clone() };
        json!({
            "name": name,
            "default_version": default,
            "settings": settings,
            "disabled": self.controls.is_disabled(&off),
            "versions": versions.collect::<Vec<_>>(),
        })
    }

    /// A version, and whether it is switched off, by itself or by its bytes.
    fn version_view(
        &self,
        (tenant, name): (&TenantName, &PluginName),
        version: &PluginVersion,
    ) -> Value {
        let (tenant, plugin, digest) = (tenant.clone(), name.clone(), version.digest);
        let off = Hold::Version { tenant, plugin, version: version.version.clone() };
        let off = [off, Hold::Digest(digest)].iter().any(|off| self.controls.is_disabled(off));
        let mut view = version_view(name, version);
        view["disabled"] = off.into();
        view
    }
}

/// What the view of a plugin takes: as it is read, as it is told, and as text.
fn view_bytes(plugin: &Plugin) -> u64 {
    struct Length(u64);
    impl std::io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    // It has no keys that are not strings, so this does not fail.
    let _ = serde_json::to_writer(&mut length, plugin);
    3 * length.0
}

fn version_view(name: &PluginName, version: &PluginVersion) -> Value {
    json!({
        "name": name,
        "version": version.version,
        "digest": version.digest,
        "size_bytes": version.size_bytes,
        "created_at": version.created_at,
        "abi": version.inspection.abi,
        "imports": version.inspection.imports,
        "exports": version.inspection.exports,
        "entrypoints": version.inspection.entrypoints,
        "grants": version.inspection.grants(),
        "minimum_memory_bytes": version.inspection.minimum_memory_bytes,
    })
}

pub(super) fn parse_name(text: &str) -> Result<PluginName, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request("invalid_name", error))
}

pub(super) fn parse_version(text: &str) -> Result<Version, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request("invalid_version", error))
}
