//! Plugins: showing and removing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jobwright_core::access::Caller;
use jobwright_core::hold::Hold;
use jobwright_core::job::{Job, MAX_LOST, Phase};
use jobwright_core::plugin::{
    NotFound, Plugin, PluginName, PluginRef, PluginVersion, Selector, Version,
};
use jobwright_core::store::{JobFilter, Page};
use jobwright_core::tenant::TenantName;
use serde_json::{Value, json};

use super::app::App;
use super::http::auth::By;
use super::http::content;
use super::http::error::ApiError;
use super::http::path::Path;
use super::http::problem_code::ProblemCode;
use super::http::query::Query;
use crate::detached;

/// The number of plugins on a page.
const PAGE: usize = 100;

/// The maximum number of lost jobs in the view of a plugin: a sample for the investigation.
const LOST_SHOWN: usize = 10;

pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, ApiError> {
    let mut query = Query::of(&uri);
    let after: Option<PluginName> = query.parse("cursor", ProblemCode::InvalidName);
    query.finish()?;
    let page = || app.parts.registry.list(&caller.tenant, after.as_ref(), PAGE);
    let bytes = page().await?.iter().map(|plugin| view_bytes(plugin)).sum();
    let permit = app.budgets.responses.of(&caller.tenant).acquire(bytes).await?;
    let plugins = page().await?;
    let next = (plugins.len() == PAGE).then(|| plugins.last().map(|p| p.name.clone())).flatten();
    let plugins: Vec<Value> = plugins.iter().map(|plugin| app.plugin_view(plugin)).collect();
    Ok(permit.attach(Json(json!({ "plugins": plugins, "next_cursor": next })).into_response()))
}

pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let name = parse_name(&name)?;
    let bytes = view_bytes(&*app.installed(&caller, &name).await?);
    let lost = app.lost_jobs(&caller.tenant, &name).await;
    let permit = app.budgets.responses.of(&caller.tenant).acquire(bytes).await?;
    let plugin = app.installed(&caller, &name).await?;
    Ok(permit.attach(Json(app.shown(&plugin, lost)).into_response()))
}

pub(super) async fn show_version(
    State(app): State<App>,
    By(caller): By,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let name = parse_name(&name)?;
    let version = app.version(&caller, &name, &version).await?;
    Ok(Json(app.version_view(&caller.tenant, &name, &version)))
}

pub(super) async fn wasm(
    State(app): State<App>,
    By(caller): By,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let name = parse_name(&name)?;
    let version = app.version(&caller, &name, &version).await?;
    let missing = || ApiError::internal(format!("the bytes of {} are missing", version.digest));
    let bytes = app.parts.registry.open(&version.digest).await?.ok_or_else(missing)?;
    let body = content::Described { length: version.size_bytes, digest: version.digest };
    let name = format!("{name}-{}.wasm", version.version);
    Ok(content::serve_in_pieces(bytes, &body, "application/wasm", &name))
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
    let version = app.version(&caller, &name, &version).await?.version;
    app.remove(caller, name, Some(version)).await
}

impl App {
    /// A plugin of the caller's tenant.
    pub(super) async fn installed(
        &self,
        caller: &Caller,
        name: &PluginName,
    ) -> Result<Arc<Plugin>, ApiError> {
        let plugin = self.parts.registry.get(&caller.tenant, name).await?;
        Ok(plugin.ok_or_else(|| NotFound::Plugin(name.clone()))?)
    }

    /// A version of a plugin of the caller's tenant.
    pub(super) async fn version(
        &self,
        caller: &Caller,
        name: &PluginName,
        version: &str,
    ) -> Result<PluginVersion, ApiError> {
        let selector = Selector::Exact(parse_version(version)?);
        let reference = PluginRef { name: name.clone(), selector };
        Ok(self.installed(caller, name).await?.resolve(&reference)?.version.clone())
    }

    async fn remove(
        &self,
        caller: Caller,
        name: PluginName,
        version: Option<Version>,
    ) -> Result<StatusCode, ApiError> {
        self.installed(&caller, &name).await?;
        self.no_job_needs(&caller.tenant, &name, version.as_ref()).await?;
        let gate = self.intake.plugins.gate(&caller.tenant, &name);
        let _change_lock = gate.change().await;
        // Before `audit` acquires a permit: a submission that holds this lock may wait for one.
        let _remove_lock = gate.remove().await;
        // A job may have been accepted meanwhile.
        self.no_job_needs(&caller.tenant, &name, version.as_ref()).await?;
        let detail = json!({ "version": version });
        let _permit = self.audit(&caller, "plugin.remove", name.as_str(), detail).await?;
        let removed = self.parts.registry.remove(&caller.tenant, &name, version.as_ref()).await;
        let is_gone = match self.parts.registry.get(&caller.tenant, &name).await {
            Ok(left) => left.is_none(),
            // Unknown, but for what the removal answered.
            Err(_) => version.is_none() && matches!(removed, Ok(true)),
        };
        if is_gone {
            // Even after an error: another plugin can get this name, and must not see these values.
            self.parts.jobs.grantor.forget(&caller.tenant, &name).await;
        }
        if removed? { Ok(StatusCode::NO_CONTENT) } else { Err(NotFound::Plugin(name).into()) }
    }

    /// Checks that no unfinished job needs the plugin or version.
    ///
    /// # Errors
    /// If some do, and the message has their number; or if that is unknown.
    async fn no_job_needs(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        version: Option<&Version>,
    ) -> Result<(), ApiError> {
        let jobs = self.parts.jobs.store.uses(tenant, name, version).await?;
        if jobs == 0 {
            return Ok(());
        }
        let version = version.map(|version| format!("@{version}")).unwrap_or_default();
        let (are, s) = if jobs == 1 { ("needs", "") } else { ("need", "s") };
        let detail = format!(
            "{jobs} unfinished job{s} still {are} {name}{version}: wait for them, or cancel them"
        );
        Err(ApiError::new(ProblemCode::PluginInUse, detail))
    }
}

impl App {
    /// The complete view of a plugin. The caller looks up `lost` before, because that waits for a permit.
    pub(super) fn shown(&self, plugin: &Plugin, lost: Option<Vec<Value>>) -> Value {
        let mut view = self.plugin_view(plugin);
        view["lost_jobs"] = lost.into();
        view
    }

    /// The latest jobs of a plugin that were discarded because a host died each time they ran. `None` while the
    /// store is unavailable, so that plugins can be shown even then.
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
        let permit = self.budgets.listings.of(tenant).acquire().await;
        let (store, now) = (self.parts.jobs.store.clone(), self.parts.jobs.clock.now());
        let listing = async move { store.list(filter, page, now).await };
        let discarded = detached::run(permit, listing).await.ok()?.ok()?.jobs;
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
        let versions = versions.iter().map(|version| self.version_view(tenant, name, version));
        let hold = Hold::Plugin { tenant: tenant.clone(), plugin: name.clone() };
        json!({
            "name": name,
            "default_version": default,
            "settings": settings,
            "disabled": self.subscribers.controls.is_disabled(&hold),
            "versions": versions.collect::<Vec<_>>(),
        })
    }

    /// The view of a version, with whether the version or its digest is disabled.
    pub(super) fn version_view(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        version: &PluginVersion,
    ) -> Value {
        let (tenant, plugin, digest) = (tenant.clone(), name.clone(), version.digest);
        let hold = Hold::Version { tenant, plugin, version: version.version.clone() };
        let holds = [hold, Hold::Digest(digest)];
        let disabled = holds.iter().any(|hold| self.subscribers.controls.is_disabled(hold));
        let mut view = version_view(name, version);
        view["disabled"] = disabled.into();
        view
    }
}

/// The approximate memory for the response with a plugin: as a value, as its view, and as JSON.
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
    // All keys are strings, so this does not fail.
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
    text.parse().map_err(|error| ApiError::new(ProblemCode::InvalidName, error))
}

pub(super) fn parse_version(text: &str) -> Result<Version, ApiError> {
    text.parse().map_err(|error| ApiError::new(ProblemCode::InvalidVersion, error))
}
