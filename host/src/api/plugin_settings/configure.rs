//! Changes the settings of a plugin.

use axum::Json;
use axum::extract::State;
use jobwright_core::access::Scope;
use jobwright_core::limits::LimitPolicy;
use jobwright_core::outcome::is_media_type;
use jobwright_core::plugin::{NotFound, Plugin, PluginSettings, Selector};
use serde_json::Value;

use super::exit_codes;
use super::grants;
use super::limits;
use super::retries::{self, Retries};
use crate::api::app::App;
use crate::api::audit;
use crate::api::http::auth::By;
use crate::api::http::body::RawBody;
use crate::api::http::error::ApiError;
use crate::api::http::fields::{Fields, utf8};
use crate::api::http::path::Path;
use crate::api::http::problem_code::ProblemCode;
use crate::api::plugins::parse_name;

/// The longest body, in bytes: settings are few and short.
const MAX_BYTES: u64 = 64 << 10;

/// Changes the settings that are given (RFC 7396: `null` unsets).
pub(in crate::api) async fn configure(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    body: RawBody,
) -> Result<Json<Value>, ApiError> {
    let name = parse_name(&name)?;
    let body = app.body(&caller, body, "settings", MAX_BYTES).await?.bytes;
    let gate = app.intake.plugins.gate(&caller.tenant, &name);
    // From reading the settings to having written them.
    let lock = gate.change().await;
    let plugin = app.installed(&caller, &name).await?;
    let fields = Fields::of_json(utf8(&body, "settings")?, "settings")?;
    let settings = changed(&plugin, fields, &app.settings.limits)?;
    if settings.grants != plugin.settings.grants && !caller.may(Scope::Admin) {
        let detail =
            "only an administrator can change grants: this needs a key with the scope admin";
        return Err(ApiError::new(ProblemCode::ScopeMissing, detail));
    }
    // Not read again: the change is made, so that must not fail.
    let mut changed = None;
    if settings != plugin.settings {
        let detail = audit::change(&plugin.settings, &settings);
        let _permit = app.audit(&caller, "plugin.configure", name.as_str(), detail).await?;
        let found = app.parts.registry.configure(&caller.tenant, &name, settings).await?;
        changed = Some(found.ok_or_else(|| NotFound::Plugin(name.clone()))?);
    }
    // The response may wait for a permit; other changes need not.
    drop(lock);
    let lost = app.lost_jobs(&caller.tenant, &name).await;
    Ok(Json(app.shown(changed.as_ref().unwrap_or(&plugin), lost)))
}

/// The settings of `plugin` after a change.
fn changed(
    plugin: &Plugin,
    mut fields: Fields,
    policy: &LimitPolicy,
) -> Result<PluginSettings, ApiError> {
    let mut settings = plugin.settings.clone();
    limits::take(&mut fields, &mut settings.limits, policy);
    grants::take(&mut fields, &mut settings.grants);
    let Retries { retry_on, backoff } = retries::take(&mut fields);
    settings.retry_on = retry_on.unwrap_or(settings.retry_on);
    settings.backoff = backoff.unwrap_or(settings.backoff);
    if let Some(version) = fields.change("default_version", "a version such as 1.2.0") {
        settings.default_version = version;
    }
    if let Some(kind) = fields.change("output_type", "a string") {
        settings.output_type = kind;
    }
    if let Some(injects) = fields.change("inject_env", "true or false") {
        settings.inject_env = injects;
    }
    exit_codes::take(&mut fields, &mut settings.exit_codes);
    if let Some(pinned) = &settings.default_version
        && plugin.select(&Selector::Exact(pinned.clone())).is_none()
    {
        let message = format!("{}@{pinned} is not installed", plugin.name);
        fields.wrong("default_version", message);
    }
    if settings.output_type.as_ref().is_some_and(|kind| !is_media_type(kind)) {
        fields.wrong("output_type", "is not a media type such as text/plain");
    }
    let errors = fields.into_errors("is not a setting");
    if errors.is_empty() { Ok(settings) } else { Err(ApiError::invalid(errors)) }
}
