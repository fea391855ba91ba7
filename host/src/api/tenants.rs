//! Tenants: what each may take.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jobwright_core::access::{Act, Proof};
use jobwright_core::hold::Hold;
use jobwright_core::tenant::{TenantLimits, TenantName};
use serde_json::{Value, json};

use super::app::App;
use super::audit;
use super::http::auth::By;
use super::http::error::ApiError;
use super::http::fields::{Fields, utf8};
use super::http::layers::Lasting;
use super::http::path::Path;

/// The longest request, in bytes: a few numbers.
const MAX_BYTES: u64 = 4 << 10;

/// Tenants that have limits of their own: each is looked at when the next attempt is chosen.
const MAX_TENANTS: usize = 1000;

pub(super) async fn list(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let mut tenants: BTreeMap<TenantName, TenantLimits> =
        app.store.tenants().await?.into_iter().collect();
    // Who has a key is one too, and so is whose everything is by default.
    let named = app.access.keys().into_iter().map(|key| key.tenant);
    let disabled = app.store.holds().await?.into_keys().filter_map(|hold| match hold {
        Hold::Tenant(name) => Some(name),
        _ => None,
    });
    for name in named.chain(disabled).chain([TenantName::default()]) {
        tenants.entry(name).or_default();
    }
    let tenants: Vec<Value> = tenants.iter().map(|(name, limits)| app.view(name, limits)).collect();
    Ok(Json(json!({ "tenants": tenants })))
}

pub(super) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let name = parse(&name)?;
    let limits = app.store.tenant(&name).await?;
    Ok(Json(app.view(&name, &limits)))
}

/// Changes the limits that are given (RFC 7396: `null` unsets).
pub(super) async fn configure(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let name = parse(&name)?;
    let body = app.body(&caller, "limits", &headers, body, MAX_BYTES).await?.bytes;
    let _alone = app.gates.administration.lock().await;
    let before = app.store.tenant(&name).await?;
    let mut limits = before;
    let mut fields = Fields::of_json(utf8(&body, "limits")?, "limits")?;
    match fields.take_object("limits") {
        None => {}
        Some(None) => limits = TenantLimits::default(),
        Some(Some(given)) => change(&mut limits, given, &mut fields),
    }
    let errors = fields.into_errors("is not a setting of a tenant");
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    if limits == before {
        return Ok(Json(app.view(&name, &limits)));
    }
    let known = app.store.tenants().await?;
    if known.len() >= MAX_TENANTS && !known.iter().any(|(there, _)| there == &name) {
        let detail = format!(
            "{MAX_TENANTS} tenants have limits, the most that may: take those of another one back \
             with `{{\"limits\": null}}`"
        );
        return Err(ApiError::conflict("too_many_tenants", detail));
    }
    let detail = audit::change(&before, &limits);
    let _turn = app.audit(&caller, "tenant.configure", name.as_str(), detail).await?;
    app.store.set_tenant(name.clone(), limits).await?;
    Ok(Json(app.view(&name, &limits)))
}

/// Removes a tenant that has no plugins and no unfinished jobs: its limits, secrets, keys and switches.
/// Its finalized jobs stay for their retention.
pub(super) async fn remove(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let name = parse(&name)?;
    if name.is_default() {
        let detail =
            "the tenant `default` always exists; `{\"limits\": null}` takes its limits back";
        return Err(ApiError::conflict("default_tenant", detail));
    }
    let _alone = app.gates.administration.lock().await;
    app.tenant_is_unused(&name).await?;
    let keys = app.access.keys();
    let (own, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.tenant == name);
    app.still_lets_admins_in(&own, &others)?;
    let secrets = app.secrets.list(&name);
    let holds: Vec<_> =
        app.store.holds().await?.into_keys().filter(|hold| hold.is_of(&name)).collect();
    let limits = app.store.tenant(&name).await?;
    let is_bounded = limits != TenantLimits::default();
    if own.is_empty() && secrets.is_empty() && holds.is_empty() && !is_bounded {
        let detail = format!(
            "there is no tenant `{name}`: it has no limits, API keys, secrets, plugins, unfinished \
             jobs or disabled flags"
        );
        return Err(ApiError::not_found("tenant_not_found", detail));
    }
    let detail = json!({ "keys": own.len() });
    let _turn = app.audit(&caller, "tenant.remove", name.as_str(), detail).await?;
    for key in own {
        // Let in by the removal, also if the caller's own key is among them.
        let act = app.act(&caller, "key.revoke", &key.id, json!({ "tenant": name }));
        app.revoke_key(&key.id, Act { proof: Proof::File, ..act }).await?;
        app.access.forget_key(&key.id).await?;
    }
    for (secret, _) in secrets {
        app.secrets.remove(&name, &secret, app.clock.now()).await?;
    }
    app.store.set_tenant(name.clone(), TenantLimits::default()).await?;
    for hold in holds {
        app.store.set_held(hold, None).await?;
    }
    Ok(Lasting::mark(StatusCode::NO_CONTENT))
}

fn change(limits: &mut TenantLimits, mut given: Fields, fields: &mut Fields) {
    let number = "a whole number";
    limits.jobs = given.change("jobs", number).unwrap_or(limits.jobs);
    limits.payload_bytes = given.change("payload_bytes", number).unwrap_or(limits.payload_bytes);
    limits.running = given.change("running", number).unwrap_or(limits.running);
    let rate = "a whole number from 1";
    limits.jobs_per_second =
        given.change("jobs_per_second", rate).unwrap_or(limits.jobs_per_second);
    limits.plugin_bytes = given.change("plugin_bytes", number).unwrap_or(limits.plugin_bytes);
    fields.absorb("limits", given, "is not a limit of a tenant");
}

impl App {
    /// Refuses a tenant that has plugins or unfinished jobs.
    async fn tenant_is_unused(&self, name: &TenantName) -> Result<(), ApiError> {
        let in_use = |detail: String| Err(ApiError::conflict("tenant_in_use", detail));
        if let Some(plugin) = self.registry.list(name, None, 1).first() {
            return in_use(format!(
                "tenant `{name}` has the plugin `{}`, and perhaps others: remove its plugins first",
                plugin.name
            ));
        }
        let queues = self.store.counts(self.clock.now()).await?;
        let jobs: usize = queues
            .iter()
            .filter(|queue| &queue.tenant == name)
            .map(|queue| queue.depth + queue.running)
            .sum();
        match jobs {
            0 => Ok(()),
            jobs => in_use(format!(
                "tenant `{name}` has {jobs} unfinished jobs: wait for them, or cancel them"
            )),
        }
    }

    fn view(&self, name: &TenantName, limits: &TenantLimits) -> Value {
        let disabled = self.controls.is_disabled(&Hold::Tenant(name.clone()));
        json!({ "name": name, "limits": limits, "disabled": disabled })
    }
}

pub(super) fn parse(name: &str) -> Result<TenantName, ApiError> {
    name.parse().map_err(|error| ApiError::bad_request("invalid_name", error))
}
