//! The kill switch: a plugin, a version, a digest or a tenant is switched off with one call. What runs
//! is stopped, what waits is held or cancelled, nothing new is taken; and on again.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use jobwright_core::access::Caller;
use jobwright_core::hold::{Facts, Hold};
use jobwright_core::plugin::Digest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::auth::By;
use super::error::ApiError;
use super::fields::{Fields, utf8};
use super::path::Path;
use super::plugins::{parse_name, parse_version};
use super::tenants;

/// The longest request, in bytes: one word.
const MAX_BYTES: u64 = 4 << 10;

/// Things that are held at one time, paused queues apart: each is looked at when a job is accepted.
const MAX_HOLDS: usize = 1000;

/// Jobs that are cancelled in one step of the store.
const BATCH: usize = 500;

/// What becomes of the unfinished jobs of what is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Jobs {
    /// They wait.
    #[default]
    Hold,
    /// They are cancelled.
    Cancel,
}

pub(super) async fn disable_plugin(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    app.installed(&caller, &parse_name(&name)?)?;
    let hold = plugin_hold(&caller, &name)?;
    app.disable((&caller, "plugin.disable", &name), hold, &headers, body).await
}

pub(super) async fn enable_plugin(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let hold = plugin_hold(&caller, &name)?;
    app.enable((&caller, "plugin.enable", &name), hold).await
}

pub(super) async fn disable_version(
    State(app): State<App>,
    By(caller): By,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    app.version(&caller, &parse_name(&name)?, &version)?;
    let hold = version_hold(&caller, &name, &version)?;
    let target = format!("{name}@{version}");
    app.disable((&caller, "version.disable", &target), hold, &headers, body).await
}

pub(super) async fn enable_version(
    State(app): State<App>,
    By(caller): By,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let hold = version_hold(&caller, &name, &version)?;
    app.enable((&caller, "version.enable", &format!("{name}@{version}")), hold).await
}

pub(super) async fn disable_digest(
    State(app): State<App>,
    By(caller): By,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let hold = Hold::Digest(parse_digest(&digest)?);
    app.disable((&caller, "digest.disable", &digest), hold, &headers, body).await
}

pub(super) async fn enable_digest(
    State(app): State<App>,
    By(caller): By,
    Path(digest): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let hold = Hold::Digest(parse_digest(&digest)?);
    app.enable((&caller, "digest.enable", &digest), hold).await
}

pub(super) async fn disable_tenant(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let hold = Hold::Tenant(tenants::parse(&name)?);
    app.disable((&caller, "tenant.disable", &name), hold, &headers, body).await
}

pub(super) async fn enable_tenant(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let hold = Hold::Tenant(tenants::parse(&name)?);
    app.enable((&caller, "tenant.enable", &name), hold).await
}

/// What is switched off, in no order.
pub(super) async fn list(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let mut holds = app.store.holds().await?;
    holds.retain(Hold::stops);
    holds.sort_unstable();
    Ok(Json(json!({ "disabled": holds })))
}

/// Who does what to what, for the audit log.
type Deed<'a> = (&'a Caller, &'static str, &'a str);

impl App {
    async fn disable(
        &self,
        (caller, action, target): Deed<'_>,
        hold: Hold,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Json<Value>, ApiError> {
        let body = self.gates.bodies.read("request", headers, body, MAX_BYTES).await?.bytes;
        let jobs = asked(utf8(&body, "request")?)?;
        let held = self.store.holds().await?;
        if held.iter().filter(|hold| hold.stops()).count() >= MAX_HOLDS && !held.contains(&hold) {
            let detail = format!("{MAX_HOLDS} things are switched off, the most that may be");
            return Err(ApiError::conflict("too_many_disabled", detail));
        }
        let cancels = jobs == Jobs::Cancel;
        self.audit(caller, action, target, json!({ "cancels_jobs": cancels })).await?;
        self.store.set_held(hold.clone(), true).await?;
        let cancelled = if cancels { self.cancel_all(hold).await? } else { 0 };
        Ok(Json(json!({ "disabled": true, "cancelled_jobs": cancelled })))
    }

    /// Cancels every unfinished job that `hold` covers; answers how many there were.
    async fn cancel_all(&self, hold: Hold) -> Result<usize, ApiError> {
        let mut cancelled = 0;
        loop {
            let some = self.store.cancel_covered(hold.clone(), self.clock.now(), BATCH).await?;
            cancelled += some.len();
            if some.is_empty() {
                return Ok(cancelled);
            }
        }
    }

    async fn enable(
        &self,
        (caller, action, target): Deed<'_>,
        hold: Hold,
    ) -> Result<Json<Value>, ApiError> {
        self.audit(caller, action, target, json!({})).await?;
        self.store.set_held(hold, false).await?;
        Ok(Json(json!({ "disabled": false })))
    }

    /// Refuses what is switched off.
    pub(super) fn is_on(&self, facts: &Facts) -> Result<(), ApiError> {
        let what = match self.signals.switched_off(facts) {
            None => return Ok(()),
            Some(Hold::Tenant(tenant)) => format!("tenant {tenant}"),
            Some(Hold::Plugin { plugin, .. }) => format!("plugin {plugin}"),
            Some(Hold::Version { plugin, version, .. }) => format!("{plugin}@{version}"),
            Some(Hold::Digest(digest)) => format!("the code {digest}"),
            Some(Hold::Queue { queue, .. }) => format!("queue {queue}"),
        };
        Err(ApiError::conflict("disabled", format!("{what} is switched off")))
    }
}

fn plugin_hold(caller: &Caller, name: &str) -> Result<Hold, ApiError> {
    Ok(Hold::Plugin { tenant: caller.tenant.clone(), plugin: parse_name(name)? })
}

fn version_hold(caller: &Caller, name: &str, version: &str) -> Result<Hold, ApiError> {
    let (plugin, version) = (parse_name(name)?, parse_version(version)?);
    Ok(Hold::Version { tenant: caller.tenant.clone(), plugin, version })
}

/// `{"jobs": "hold" | "cancel"}`; nothing is `hold`.
fn asked(body: &str) -> Result<Jobs, ApiError> {
    if body.trim().is_empty() {
        return Ok(Jobs::default());
    }
    let mut fields = Fields::of_json(body, "request")?;
    let jobs = fields.take("jobs", "hold or cancel").unwrap_or_default();
    let errors = fields.into_errors("is not a field of this request");
    if errors.is_empty() { Ok(jobs) } else { Err(ApiError::invalid(errors)) }
}

fn parse_digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request("invalid_digest", error))
}
