//! The kill switch: a plugin, a version, a digest or a tenant is switched off with one call. What runs
//! is stopped, what waits is held or cancelled, nothing new is taken; and on again.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use jobwright_core::access::{Caller, Scope};
use jobwright_core::hold::{Hold, HoldNote};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::app::App;
use super::http::auth::By;
use super::http::error::ApiError;
use super::http::fields::{Fields, utf8};
use super::http::path::Path;
use super::plugins::{parse_name, parse_version};
use super::tenants;

/// The longest request, in bytes: a word and a reason.
const MAX_BYTES: u64 = 4 << 10;

/// Things that one tenant has switched off at one time, and the operator: all of them are in memory.
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

/// What can be switched, as a path names it.
pub(super) trait Switched: DeserializeOwned + Send {
    /// What is done to it, in the audit log: to disable and to enable it.
    const DEEDS: [&'static str; 2];

    /// What is held while it is off.
    fn hold(&self, caller: &Caller) -> Result<Hold, ApiError>;

    /// Its name in the audit log.
    fn name(&self) -> String;

    /// Refuses what cannot be switched off, because there is no such thing.
    fn check(&self, _: &App, _: &Caller) -> Result<(), ApiError> {
        Ok(())
    }
}

#[derive(Deserialize)]
pub(super) struct OfPlugin {
    name: String,
}

impl Switched for OfPlugin {
    const DEEDS: [&'static str; 2] = ["plugin.disable", "plugin.enable"];

    fn hold(&self, caller: &Caller) -> Result<Hold, ApiError> {
        Ok(Hold::Plugin { tenant: caller.tenant.clone(), plugin: parse_name(&self.name)? })
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self, app: &App, caller: &Caller) -> Result<(), ApiError> {
        app.installed(caller, &parse_name(&self.name)?).map(drop)
    }
}

#[derive(Deserialize)]
pub(super) struct OfVersion {
    name: String,
    version: String,
}

impl Switched for OfVersion {
    const DEEDS: [&'static str; 2] = ["version.disable", "version.enable"];

    fn hold(&self, caller: &Caller) -> Result<Hold, ApiError> {
        let (plugin, version) = (parse_name(&self.name)?, parse_version(&self.version)?);
        Ok(Hold::Version { tenant: caller.tenant.clone(), plugin, version })
    }

    fn name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn check(&self, app: &App, caller: &Caller) -> Result<(), ApiError> {
        app.version(caller, &parse_name(&self.name)?, &self.version).map(drop)
    }
}

/// Whose code has these bytes: whatever it is called, and whoever's it is.
#[derive(Deserialize)]
pub(super) struct OfDigest {
    digest: String,
}

impl Switched for OfDigest {
    const DEEDS: [&'static str; 2] = ["digest.disable", "digest.enable"];

    fn hold(&self, _: &Caller) -> Result<Hold, ApiError> {
        let digest = self.digest.parse();
        digest.map(Hold::Digest).map_err(|error| ApiError::bad_request("invalid_digest", error))
    }

    fn name(&self) -> String {
        self.digest.clone()
    }
}

#[derive(Deserialize)]
pub(super) struct OfTenant {
    name: String,
}

impl Switched for OfTenant {
    const DEEDS: [&'static str; 2] = ["tenant.disable", "tenant.enable"];

    fn hold(&self, _: &Caller) -> Result<Hold, ApiError> {
        Ok(Hold::Tenant(tenants::parse(&self.name)?))
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

pub(super) async fn disable<T: Switched>(
    State(app): State<App>,
    By(caller): By,
    Path(what): Path<T>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    what.check(&app, &caller)?;
    let hold = what.hold(&caller)?;
    let hold = if caller.may(Scope::Admin) { hold.by_operator() } else { hold };
    let body = app.body(&caller, "request", &headers, body, MAX_BYTES).await?.bytes;
    let (jobs, note) = asked(utf8(&body, "request")?, app.note(&caller))?;
    let cancels = jobs == Jobs::Cancel;
    let held = app.store.holds().await?;
    let own = held.keys().filter(|other| other.stops() && other.owner() == hold.owner());
    if own.count() >= MAX_HOLDS && !held.contains_key(&hold) {
        let detail = format!("{MAX_HOLDS} things are switched off, the most that may be");
        return Err(ApiError::conflict("too_many_disabled", detail));
    }
    let there = held.get(&hold);
    // What is disabled already stays as it was noted, unless there is another reason to note.
    let is_news = there.is_none_or(|there| note.reason.is_some() && note.reason != there.reason);
    if !is_news && !cancels {
        return Ok(Json(json!({ "disabled": true, "cancelled_jobs": 0 })));
    }
    let detail = json!({ "cancels_jobs": cancels, "reason": note.reason });
    let turn = app.audit(&caller, T::DEEDS[0], &what.name(), detail).await?;
    if is_news {
        app.store.set_held(hold.clone(), Some(note)).await?;
    }
    // Submissions that are waited for may wait for a turn themselves.
    drop(turn);
    // Jobs that were being accepted before it was off are in the queue when this is passed.
    app.intake.plugins.drained(&hold).await;
    let cancelled = if cancels { app.cancel_all(&caller, hold).await? } else { 0 };
    Ok(Json(json!({ "disabled": true, "cancelled_jobs": cancelled })))
}

pub(super) async fn enable<T: Switched>(
    State(app): State<App>,
    By(caller): By,
    Path(what): Path<T>,
) -> Result<Json<Value>, ApiError> {
    let hold = what.hold(&caller)?;
    let (operators, held) = (hold.clone().by_operator(), app.store.holds().await?);
    if !caller.may(Scope::Admin) && held.contains_key(&operators) {
        let detail = format!("{} was switched off by an administrator", what.name());
        return Err(ApiError::forbidden("disabled_by_operator", detail));
    }
    let off = BTreeSet::from([hold, operators]).into_iter().filter(|hold| held.contains_key(hold));
    let off: Vec<Hold> = off.collect();
    if off.is_empty() {
        return Ok(Json(json!({ "disabled": false })));
    }
    let _turn = app.audit(&caller, T::DEEDS[1], &what.name(), json!({})).await?;
    for hold in off {
        app.store.set_held(hold, None).await?;
    }
    Ok(Json(json!({ "disabled": false })))
}

/// What is disabled: by whom, since when and why.
pub(super) async fn list(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let mut disabled: BTreeMap<Hold, HoldNote> = BTreeMap::new();
    // Sorted: those of administrators come last, and their notes stand.
    for (hold, note) in app.store.holds().await?.into_iter().filter(|(hold, _)| hold.stops()) {
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
    /// Cancels every unfinished job that `hold` covers, for as long as the caller may; answers how many
    /// there were.
    async fn cancel_all(&self, caller: &Caller, hold: Hold) -> Result<usize, ApiError> {
        let _turn = self.gates.changes.of(&caller.tenant).acquire().await;
        let mut cancelled = 0;
        loop {
            self.still_admits(caller, false)?;
            let some = self.store.cancel_covered(hold.clone(), self.clock.now(), BATCH).await?;
            cancelled += some.len();
            if some.is_empty() {
                return Ok(cancelled);
            }
        }
    }

    /// The note of what `caller` holds now, without a reason.
    pub(super) fn note(&self, caller: &Caller) -> HoldNote {
        let (by, at) = (Some(caller.actor.clone()), Some(self.clock.now()));
        HoldNote { by, at, reason: None }
    }
}

/// `{"jobs": "hold" | "cancel", "reason": "…"}`; nothing is `hold`, without a reason.
fn asked(body: &str, note: HoldNote) -> Result<(Jobs, HoldNote), ApiError> {
    let mut fields = Fields::of_optional_json(body, "request")?;
    let jobs = fields.take("jobs", "hold or cancel").unwrap_or_default();
    let note = noted(&mut fields, note);
    let errors = fields.into_errors("is not a field of this request");
    if errors.is_empty() { Ok((jobs, note)) } else { Err(ApiError::invalid(errors)) }
}

/// `note` with the reason that is given, if one is.
pub(super) fn noted(fields: &mut Fields, note: HoldNote) -> HoldNote {
    let reason: Option<String> = fields.take("reason", "a string");
    match note.clone().because(reason.as_deref().unwrap_or_default()) {
        Ok(noted) => noted,
        Err(error) => {
            fields.wrong("reason", error);
            note
        }
    }
}
