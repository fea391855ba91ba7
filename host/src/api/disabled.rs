//! The kill switch: disables and enables a plugin, a version, a digest or a tenant. While it is disabled, its
//! running attempts are stopped, its waiting jobs are held or cancelled, and new jobs are refused.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use jobwright_core::access::{Caller, Scope};
use jobwright_core::hold::{Hold, HoldNote};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::app::App;
use super::http::auth::By;
use super::http::body::RawBody;
use super::http::error::ApiError;
use super::http::fields::{Fields, utf8};
use super::http::path::Path;
use super::http::problem_code::ProblemCode;
use super::plugins::{parse_name, parse_version};
use super::tenants;

/// The longest body, in bytes: an action and a reason.
const MAX_BYTES: u64 = 4 << 10;

/// The maximum number of disabled plugins, versions, digests and tenants of one owner: of a tenant, or of all
/// administrators. All of them are in memory.
const MAX_HOLDS: usize = 1000;

/// The maximum number of jobs that one command of the store cancels.
const BATCH: usize = 500;

/// What happens to unfinished jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Jobs {
    /// They wait until they are enabled.
    #[default]
    Hold,
    /// They are cancelled.
    Cancel,
}

/// A target of the kill switch, as the path of a request names it.
pub(super) trait Target: DeserializeOwned + Send + Sync {
    /// The actions in the audit log: to disable and to enable it.
    const ACTIONS: [&'static str; 2];

    /// The hold while it is disabled.
    fn hold(&self, caller: &Caller) -> Result<Hold, ApiError>;

    /// The name in the audit log.
    fn name(&self) -> String;

    /// Checks that it exists, so that it can be disabled.
    ///
    /// # Errors
    /// If it does not.
    fn check(&self, _: &App, _: &Caller) -> impl Future<Output = Result<(), ApiError>> + Send {
        std::future::ready(Ok(()))
    }
}

#[derive(Deserialize)]
pub(super) struct PluginTarget {
    name: String,
}

impl Target for PluginTarget {
    const ACTIONS: [&'static str; 2] = ["plugin.disable", "plugin.enable"];

    fn hold(&self, caller: &Caller) -> Result<Hold, ApiError> {
        Ok(Hold::Plugin { tenant: caller.tenant.clone(), plugin: parse_name(&self.name)? })
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    async fn check(&self, app: &App, caller: &Caller) -> Result<(), ApiError> {
        app.installed(caller, &parse_name(&self.name)?).await.map(drop)
    }
}

#[derive(Deserialize)]
pub(super) struct VersionTarget {
    name: String,
    version: String,
}

impl Target for VersionTarget {
    const ACTIONS: [&'static str; 2] = ["version.disable", "version.enable"];

    fn hold(&self, caller: &Caller) -> Result<Hold, ApiError> {
        let (plugin, version) = (parse_name(&self.name)?, parse_version(&self.version)?);
        Ok(Hold::Version { tenant: caller.tenant.clone(), plugin, version })
    }

    fn name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    async fn check(&self, app: &App, caller: &Caller) -> Result<(), ApiError> {
        app.version(caller, &parse_name(&self.name)?, &self.version).await.map(drop)
    }
}

/// All plugins with these bytes, of any name and tenant.
#[derive(Deserialize)]
pub(super) struct DigestTarget {
    digest: String,
}

impl Target for DigestTarget {
    const ACTIONS: [&'static str; 2] = ["digest.disable", "digest.enable"];

    fn hold(&self, _: &Caller) -> Result<Hold, ApiError> {
        let digest = self.digest.parse();
        digest.map(Hold::Digest).map_err(|error| ApiError::new(ProblemCode::InvalidDigest, error))
    }

    fn name(&self) -> String {
        self.digest.clone()
    }
}

#[derive(Deserialize)]
pub(super) struct TenantTarget {
    name: String,
}

impl Target for TenantTarget {
    const ACTIONS: [&'static str; 2] = ["tenant.disable", "tenant.enable"];

    fn hold(&self, _: &Caller) -> Result<Hold, ApiError> {
        Ok(Hold::Tenant(tenants::parse(&self.name)?))
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

pub(super) async fn disable<T: Target>(
    State(app): State<App>,
    By(caller): By,
    Path(target): Path<T>,
    body: RawBody,
) -> Result<Json<Value>, ApiError> {
    target.check(&app, &caller).await?;
    let hold = target.hold(&caller)?;
    let hold = if caller.may(Scope::Admin) { hold.by_operator() } else { hold };
    let body = app.body(&caller, body, "request", MAX_BYTES).await?.bytes;
    let (jobs, note) = parse(utf8(&body, "request")?, app.note(&caller))?;
    let cancels = jobs == Jobs::Cancel;
    let held = app.parts.jobs.store.holds().await?;
    let own = held.keys().filter(|other| other.stops() && other.owner() == hold.owner());
    if own.count() >= MAX_HOLDS && !held.contains_key(&hold) {
        let detail = format!(
            "{MAX_HOLDS} plugins, versions, digests and tenants are disabled, the maximum: enable some first"
        );
        return Err(ApiError::new(ProblemCode::TooManyDisabled, detail));
    }
    // If it is disabled already, the note stays, unless the request has another reason.
    let is_change =
        held.get(&hold).is_none_or(|old| note.reason.is_some() && note.reason != old.reason);
    if !is_change && !cancels {
        return Ok(Json(json!({ "disabled": true, "cancelled_jobs": 0 })));
    }
    let detail = json!({ "cancels_jobs": cancels, "reason": note.reason });
    let permit = app.audit(&caller, T::ACTIONS[0], &target.name(), detail).await?;
    if is_change {
        app.parts.jobs.store.set_held(hold.clone(), Some(note)).await?;
    }
    // The submissions that `drained` waits for may wait for a permit themselves.
    drop(permit);
    // Afterwards, all jobs that were accepted before the hold are in the queue.
    app.intake.plugins.drained(&hold).await;
    let cancelled = if cancels { app.cancel_all(&caller, hold).await? } else { 0 };
    Ok(Json(json!({ "disabled": true, "cancelled_jobs": cancelled })))
}

pub(super) async fn enable<T: Target>(
    State(app): State<App>,
    By(caller): By,
    Path(target): Path<T>,
) -> Result<Json<Value>, ApiError> {
    let hold = target.hold(&caller)?;
    let (by_operator, held) = (hold.clone().by_operator(), app.parts.jobs.store.holds().await?);
    if !caller.may(Scope::Admin) && held.contains_key(&by_operator) {
        let detail = format!(
            "an administrator disabled {}: only an administrator can enable it",
            target.name()
        );
        return Err(ApiError::new(ProblemCode::DisabledByOperator, detail));
    }
    let mut present = BTreeSet::from([hold, by_operator]);
    present.retain(|hold| held.contains_key(hold));
    if present.is_empty() {
        return Ok(Json(json!({ "disabled": false })));
    }
    let _permit = app.audit(&caller, T::ACTIONS[1], &target.name(), json!({})).await?;
    for hold in present {
        app.parts.jobs.store.set_held(hold, None).await?;
    }
    Ok(Json(json!({ "disabled": false })))
}

/// Everything that is disabled, with the actor, the time and the reason.
pub(super) async fn list(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let mut disabled: BTreeMap<Hold, HoldNote> = BTreeMap::new();
    // The holds of administrators come last in the order, so their notes replace those of tenants.
    for (hold, note) in
        app.parts.jobs.store.holds().await?.into_iter().filter(|(hold, _)| hold.stops())
    {
        let hold = match hold {
            Hold::Operator(hold) => *hold,
            hold => hold,
        };
        disabled.insert(hold, note);
    }
    let entries = disabled.iter().map(|(hold, note)| {
        let mut entry = json!(hold);
        entry["disabled_by"] = json!(note.by);
        entry["disabled_at"] = json!(note.at);
        entry["reason"] = json!(note.reason);
        entry
    });
    Ok(Json(json!({ "disabled": entries.collect::<Vec<_>>() })))
}

impl App {
    /// Cancels every unfinished job that `hold` covers, while the caller is authorized. Returns their number.
    async fn cancel_all(&self, caller: &Caller, hold: Hold) -> Result<usize, ApiError> {
        let _permit = self.budgets.changes.of(&caller.tenant).acquire().await;
        let mut cancelled = 0;
        loop {
            self.still_admits(caller, false)?;
            let some = self
                .parts
                .jobs
                .store
                .cancel_covered(hold.clone(), self.parts.jobs.clock.now(), BATCH)
                .await?;
            cancelled += some.len();
            if some.is_empty() {
                return Ok(cancelled);
            }
        }
    }

    /// The note of a hold that `caller` places now, without a reason.
    pub(super) fn note(&self, caller: &Caller) -> HoldNote {
        let (by, at) = (Some(caller.actor.clone()), Some(self.parts.jobs.clock.now()));
        HoldNote { by, at, reason: None }
    }
}

/// Parses `{"jobs": "hold" | "cancel", "reason": "…"}`. The default is `hold`, without a reason.
fn parse(body: &str, note: HoldNote) -> Result<(Jobs, HoldNote), ApiError> {
    let mut fields = Fields::of_optional_json(body, "request")?;
    let jobs = fields.take("jobs", "hold or cancel").unwrap_or_default();
    let note = with_reason(&mut fields, note);
    let errors = fields.into_errors("is not a field of this request");
    if errors.is_empty() { Ok((jobs, note)) } else { Err(ApiError::invalid(errors)) }
}

/// `note` with the reason of the request, if it has one.
pub(super) fn with_reason(fields: &mut Fields, note: HoldNote) -> HoldNote {
    let reason: Option<String> = fields.take("reason", "a string");
    match note.clone().because(reason.as_deref().unwrap_or_default()) {
        Ok(noted) => noted,
        Err(error) => {
            fields.wrong("reason", error);
            note
        }
    }
}
