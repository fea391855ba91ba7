//! API keys: creating, listing without tokens, and revoking.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jobwright_core::access::{self, ApiKey, Scope};
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::plugin::Digest;
use jobwright_core::tenant::TenantName;
use serde_json::{Value, json};

use super::app::App;
use super::http::auth::{self, By};
use super::http::body::RawBody;
use super::http::error::ApiError;
use super::http::fields::{Fields, utf8};
use super::http::layers::CredentialsChanged;
use super::http::path::Path;
use super::http::problem_code::ProblemCode;

/// The longest body, in bytes: a name and scopes.
const MAX_BYTES: u64 = 16 << 10;

/// The maximum number of keys, each of which is in memory. New keys replace revoked and expired ones.
const MAX_KEYS: usize = 10_000;

/// The maximum length of the name of a key, in characters.
const MAX_NAME: usize = 100;

/// The beginning of tokens, by which secret scanners find them in source code.
const PREFIX: &str = "jwk_";

/// Creates a key. Only this response has its token.
pub(super) async fn create(
    State(app): State<App>,
    By(caller): By,
    body: RawBody,
) -> Result<Response, ApiError> {
    let body = app.body(&caller, body, "key", MAX_BYTES).await?.bytes;
    let _lock = app.administration.lock().await;
    // Another request may have created the first key meanwhile, or revoked the key of the caller.
    app.still_admits(&caller, false)?;
    let now = app.parts.jobs.clock.now();
    let key = draft(utf8(&body, "key")?, now)?;
    let keys = app.parts.access.keys().await?;
    let Some(evicted) = access::evictable(&keys, MAX_KEYS, now) else {
        let detail = format!("{MAX_KEYS} keys are valid, the maximum: revoke some first");
        return Err(ApiError::new(ProblemCode::TooManyKeys, detail));
    };
    if auth::is_open(&app.settings.keys, &*app.parts.access)? && !is_lasting_admin_key(&key, now) {
        let detail = "once the host has a key, every request needs one: the first key must have the \
                      scope admin and must not expire, so that it can create others";
        return Err(ApiError::new(ProblemCode::FirstKey, detail));
    }
    // With 256 random bits, a plain digest is as safe as a password hash.
    let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let ApiKey { name, tenant, scopes, expires_at, .. } = &key;
    let detail =
        json!({ "name": name, "tenant": tenant, "scopes": scopes, "expires_at": expires_at });
    let _permit = app.audit(&caller, "key.create", &key.id, detail).await?;
    for old in evicted {
        app.parts.access.forget_key(&old.id).await?;
    }
    app.parts.access.add_key(key.clone(), Digest::of(token.as_bytes())).await?;
    let mut view = view(&key, now);
    view["key"] = token.into();
    Ok(CredentialsChanged::mark((StatusCode::CREATED, Json(view))))
}

/// Whether a key is an administrator's and does not expire, so that it can always create other keys.
fn is_lasting_admin_key(key: &ApiKey, now: Timestamp) -> bool {
    key.is_valid(now) && key.expires_at.is_none() && key.scopes.contains(&Scope::Admin)
}

impl App {
    /// Checks that the keys `removed` can be revoked.
    ///
    /// # Errors
    /// If one of them is an administrator's, and none of `others` is an administrator's that does not expire.
    pub(super) fn check_admin_key_remains(
        &self,
        removed: &[ApiKey],
        others: &[ApiKey],
    ) -> Result<(), ApiError> {
        let now = self.parts.jobs.clock.now();
        let is_admin = |key: &ApiKey| key.is_valid(now) && key.scopes.contains(&Scope::Admin);
        let is_left = || others.iter().any(|other| is_lasting_admin_key(other, now));
        if self.settings.keys.has_file() || !removed.iter().any(is_admin) || is_left() {
            return Ok(());
        }
        let detail = "this is the last key with the scope admin that does not expire: create another such \
                      key first";
        Err(ApiError::new(ProblemCode::LastKey, detail))
    }
}

fn draft(text: &str, now: Timestamp) -> Result<ApiKey, ApiError> {
    let mut fields = Fields::of_json(text, "key")?;
    let name = fields.take("name", "a string").unwrap_or_else(String::new);
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        fields.wrong("name", format!("is not a string of at most {MAX_NAME} characters"));
    }
    let tenant: Option<TenantName> = fields.parse("tenant");
    let scopes: Option<Vec<String>> = fields.take("scopes", "a list of scopes");
    let mut granted = BTreeSet::new();
    for scope in scopes.iter().flatten() {
        match scope.parse::<Scope>() {
            Ok(scope) => drop(granted.insert(scope)),
            Err(error) => fields.wrong("scopes", error),
        }
    }
    if scopes.is_none_or(|scopes| scopes.is_empty()) {
        fields.missing("scopes", "is missing: list the scopes of the key");
    }
    let life: Option<NonZeroU64> = fields.take("expires_in_s", "a whole number of seconds from 1");
    let expires_at = life.map(|seconds| after(now, Duration::from_secs(seconds.get())));
    let errors = fields.into_errors("is not a field of a key");
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let id = format!("key-{}", hex::encode(rand::random::<[u8; 6]>()));
    let (tenant, scopes, created_at) = (tenant.unwrap_or_default(), granted, now);
    Ok(ApiKey { id, name, tenant, scopes, created_at, expires_at, revoked_at: None })
}

pub(super) async fn list(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let (keys, now) = (app.parts.access.keys().await?, app.parts.jobs.clock.now());
    Ok(Json(json!({ "keys": keys.iter().map(|key| view(key, now)).collect::<Vec<_>>() })))
}

/// A key with its state, by the host's clock.
fn view(key: &ApiKey, now: Timestamp) -> Value {
    let state = match key.revoked_at {
        Some(_) => "revoked",
        None if key.is_valid(now) => "valid",
        None => "expired",
    };
    let mut view = json!(key);
    view["state"] = state.into();
    view
}

/// Revokes a key, at once.
pub(super) async fn revoke(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let _lock = app.administration.lock().await;
    app.still_admits(&caller, false)?;
    let keys = app.parts.access.keys().await?;
    let unknown = || ApiError::new(ProblemCode::KeyNotFound, "there is no key with this id");
    let (removed, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.id == id);
    let key = removed.first().ok_or_else(unknown)?;
    let now = app.parts.jobs.clock.now();
    app.check_admin_key_remains(&removed, &others)?;
    if key.revoked_at.is_some() {
        return Ok(Json(view(key, now)).into_response());
    }
    let act = app.act(&caller, "key.revoke", &id, json!({ "tenant": key.tenant }));
    let revoked = app.revoke_key(&id, act).await?;
    Ok(CredentialsChanged::mark(Json(view(&revoked, now))))
}
