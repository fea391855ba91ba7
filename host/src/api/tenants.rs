//! Tenants: their limits, and removing them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jobwright_core::access::{Act, ApiKey, Caller, Proof};
use jobwright_core::grant::SecretName;
use jobwright_core::hold::Hold;
use jobwright_core::tenant::{TenantLimits, TenantName};
use serde_json::{Value, json};

use super::app::App;
use super::audit;
use super::http::auth::By;
use super::http::body::RawBody;
use super::http::error::ApiError;
use super::http::fields::{Fields, utf8};
use super::http::layers::CredentialsChanged;
use super::http::path::Path;
use super::http::problem_code::ProblemCode;

/// The longest body, in bytes: a few numbers.
const MAX_BYTES: u64 = 4 << 10;

/// The maximum number of tenants with limits, which are in memory.
const MAX_TENANTS: usize = 1000;

pub(super) async fn list(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let mut tenants: BTreeMap<TenantName, TenantLimits> =
        app.parts.jobs.store.tenants().await?.into_iter().collect();
    // Tenants with keys or a hold are listed too, and the default tenant.
    let with_keys = app.parts.access.keys().await?.into_iter().map(|key| key.tenant);
    let disabled = app.parts.jobs.store.holds().await?.into_keys().filter_map(|hold| match hold {
        Hold::Tenant(name) => Some(name),
        _ => None,
    });
    for name in with_keys.chain(disabled).chain([TenantName::default()]) {
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
    let limits = app.parts.jobs.store.tenant(&name).await?;
    Ok(Json(app.view(&name, &limits)))
}

/// Changes the limits that are given (RFC 7396: `null` unsets).
pub(super) async fn configure(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    body: RawBody,
) -> Result<Json<Value>, ApiError> {
    let name = parse(&name)?;
    let body = app.body(&caller, body, "limits", MAX_BYTES).await?.bytes;
    let _lock = app.administration.lock().await;
    let before = app.parts.jobs.store.tenant(&name).await?;
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
    let known = app.parts.jobs.store.tenants().await?;
    if known.len() >= MAX_TENANTS && !known.iter().any(|(known, _)| known == &name) {
        let detail = format!(
            "{MAX_TENANTS} tenants have limits, the maximum: remove those of another tenant with \
             `{{\"limits\": null}}` first"
        );
        return Err(ApiError::new(ProblemCode::TooManyTenants, detail));
    }
    let detail = audit::change(&before, &limits);
    let _permit = app.audit(&caller, "tenant.configure", name.as_str(), detail).await?;
    app.parts.jobs.store.set_tenant(name.clone(), limits).await?;
    Ok(Json(app.view(&name, &limits)))
}

/// Removes a tenant without plugins and unfinished jobs: its limits, secrets, keys and holds. Its finalized jobs
/// stay for their retention.
pub(super) async fn remove(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let name = parse(&name)?;
    if name.is_default() {
        let detail =
            "the tenant `default` cannot be removed; `{\"limits\": null}` removes its limits";
        return Err(ApiError::new(ProblemCode::DefaultTenant, detail));
    }
    let _lock = app.administration.lock().await;
    app.check_unused(&name).await?;
    let keys = app.parts.access.keys().await?;
    let (own, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.tenant == name);
    app.check_admin_key_remains(&own, &others)?;
    let belongings = app.belongings(&name, own).await?;
    if belongings.is_empty() {
        let detail = format!(
            "there is no tenant `{name}`: it has no limits, API keys, secrets, plugins, unfinished \
             jobs or disabled flags"
        );
        return Err(ApiError::new(ProblemCode::TenantNotFound, detail));
    }
    let detail = json!({ "keys": belongings.keys.len() });
    let _permit = app.audit(&caller, "tenant.remove", name.as_str(), detail).await?;
    app.remove_belongings(&caller, &name, belongings).await?;
    Ok(CredentialsChanged::mark(StatusCode::NO_CONTENT))
}

/// What is stored of a tenant without plugins and unfinished jobs, except its finalized jobs.
struct Belongings {
    keys: Vec<ApiKey>,
    secrets: Vec<SecretName>,
    holds: Vec<Hold>,
    limits: TenantLimits,
}

impl Belongings {
    fn is_empty(&self) -> bool {
        let has_limits = self.limits != TenantLimits::default();
        self.keys.is_empty() && self.secrets.is_empty() && self.holds.is_empty() && !has_limits
    }
}

impl App {
    async fn belongings(
        &self,
        tenant: &TenantName,
        keys: Vec<ApiKey>,
    ) -> Result<Belongings, ApiError> {
        let secrets = self.parts.secrets.list(tenant).await?;
        let secrets = secrets.into_iter().map(|(name, _)| name).collect();
        let holds =
            self.parts.jobs.store.holds().await?.into_keys().filter(|hold| hold.is_of(tenant));
        let limits = self.parts.jobs.store.tenant(tenant).await?;
        Ok(Belongings { keys, secrets, holds: holds.collect(), limits })
    }

    async fn remove_belongings(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        belongings: Belongings,
    ) -> Result<(), ApiError> {
        for key in belongings.keys {
            // The removal is authorized already, even if the caller's own key is revoked by it.
            let act = self.act(caller, "key.revoke", &key.id, json!({ "tenant": tenant }));
            self.revoke_key(&key.id, Act { proof: Proof::File, ..act }).await?;
            self.parts.access.forget_key(&key.id).await?;
        }
        for secret in belongings.secrets {
            self.parts.secrets.remove(tenant, &secret, self.parts.jobs.clock.now()).await?;
        }
        self.parts.jobs.store.set_tenant(tenant.clone(), TenantLimits::default()).await?;
        for hold in belongings.holds {
            self.parts.jobs.store.set_held(hold, None).await?;
        }
        Ok(())
    }
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
    /// Checks that a tenant has no plugins and no unfinished jobs.
    ///
    /// # Errors
    /// If it has some.
    async fn check_unused(&self, name: &TenantName) -> Result<(), ApiError> {
        let in_use = |detail: String| Err(ApiError::new(ProblemCode::TenantInUse, detail));
        if let Some(plugin) = self.parts.registry.list(name, None, 1).await?.first() {
            return in_use(format!(
                "tenant `{name}` has the plugin `{}`, and maybe others: remove its plugins first",
                plugin.name
            ));
        }
        let queues = self.parts.jobs.store.counts(self.parts.jobs.clock.now()).await?;
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
        let disabled = self.subscribers.controls.is_disabled(&Hold::Tenant(name.clone()));
        json!({ "name": name, "limits": limits, "disabled": disabled })
    }
}

pub(super) fn parse(name: &str) -> Result<TenantName, ApiError> {
    name.parse().map_err(|error| ApiError::new(ProblemCode::InvalidName, error))
}
