//! API keys: made, shown without their tokens, revoked.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
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
use super::http::error::ApiError;
use super::http::fields::{Fields, utf8};
use super::http::layers::Lasting;
use super::http::path::Path;

/// The longest request, in bytes: a name and some words.
const MAX_BYTES: u64 = 16 << 10;

/// Keys that are kept: each is an entry in memory. Revoked and expired ones give way to new ones.
const MAX_KEYS: usize = 10_000;

/// The longest name of a key, in characters.
const MAX_NAME: usize = 100;

/// What tokens begin with, so that scanners of source code can find those that were left there.
const PREFIX: &str = "jwk_";

/// Makes a key, and answers its token this once.
pub(super) async fn create(
    State(app): State<App>,
    By(caller): By,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = app.body(&caller, "key", &headers, body, MAX_BYTES).await?.bytes;
    let _alone = app.gates.administration.lock().await;
    // Another one may have been the first meanwhile, or have revoked the caller's.
    app.still_admits(&caller, false)?;
    let now = app.clock.now();
    let key = draft(utf8(&body, "key")?, now)?;
    let keys = app.access.keys();
    let Some(evicted) = access::evictable(&keys, MAX_KEYS, now) else {
        let detail =
            format!("{MAX_KEYS} keys are in use, the most that may be: revoke some that are not");
        return Err(ApiError::conflict("too_many_keys", detail));
    };
    if auth::is_open(&app.settings.keys, &*app.access) && !lets_admins_in_for_good(&key, now) {
        let detail = "from the first key on every request needs one: give it the scope admin and no \
                      end, or nobody could make another";
        return Err(ApiError::conflict("first_key", detail));
    }
    // 256 random bits: a plain digest of them is as good as they are.
    let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let ApiKey { name, tenant, scopes, expires_at, .. } = &key;
    let detail =
        json!({ "name": name, "tenant": tenant, "scopes": scopes, "expires_at": expires_at });
    let _turn = app.audit(&caller, "key.create", &key.id, detail).await?;
    for old in evicted {
        app.access.forget_key(&old.id).await?;
    }
    app.access.add_key(key.clone(), Digest::of(token.as_bytes())).await?;
    let mut view = view(&key, now);
    view["key"] = token.into();
    Ok(Lasting::mark((StatusCode::CREATED, Json(view))))
}

/// Whether it lets its bearer make another key, now and whenever that is needed.
fn lets_admins_in_for_good(key: &ApiKey, now: Timestamp) -> bool {
    key.is_valid(now) && key.expires_at.is_none() && key.scopes.contains(&Scope::Admin)
}

impl App {
    /// Refuses to do without the keys `gone`, of which one is an administrator's, if none of `others` lets
    /// an administrator in for good.
    pub(super) fn still_lets_admins_in(
        &self,
        gone: &[ApiKey],
        others: &[ApiKey],
    ) -> Result<(), ApiError> {
        let now = self.clock.now();
        let is_admin = |key: &ApiKey| key.is_valid(now) && key.scopes.contains(&Scope::Admin);
        let is_left = || others.iter().any(|other| lets_admins_in_for_good(other, now));
        if self.settings.keys.are_there() || !gone.iter().any(is_admin) || is_left() {
            return Ok(());
        }
        let detail = "it would leave no key with the scope admin that does not expire: make such a \
                      key first";
        Err(ApiError::conflict("last_key", detail))
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
        fields.missing("scopes", "is missing: name what the key may do");
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

pub(super) async fn list(State(app): State<App>) -> Json<Value> {
    let (keys, now) = (app.access.keys(), app.clock.now());
    Json(json!({ "keys": keys.iter().map(|key| view(key, now)).collect::<Vec<_>>() }))
}

/// A key, and whether it lets its bearer in: by the host's clock, which decides that.
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

/// Revokes a key: it lets nobody in from now on.
pub(super) async fn revoke(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let _alone = app.gates.administration.lock().await;
    app.still_admits(&caller, false)?;
    let keys = app.access.keys();
    let unknown = || ApiError::not_found("key_not_found", "there is no key with this id");
    let (gone, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.id == id);
    let key = gone.first().ok_or_else(unknown)?;
    let now = app.clock.now();
    app.still_lets_admins_in(&gone, &others)?;
    if key.revoked_at.is_some() {
        return Ok(Json(view(key, now)).into_response());
    }
    let act = app.act(&caller, "key.revoke", &id, json!({ "tenant": key.tenant }));
    let revoked = app.revoke_key(&id, act).await?;
    Ok(Lasting::mark(Json(view(&revoked, now))))
}
