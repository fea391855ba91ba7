//! API keys: made, shown without their tokens, revoked.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jobwright_core::access::{ApiKey, Scope};
use jobwright_core::clock::after;
use jobwright_core::plugin::Digest;
use jobwright_core::tenant::TenantName;
use serde_json::{Value, json};

use super::App;
use super::auth::{self, By};
use super::error::ApiError;
use super::fields::{Fields, utf8};
use super::path::Path;

/// The longest request, in bytes: a name and some words.
const MAX_BYTES: u64 = 16 << 10;

/// Keys that are kept, revoked ones too: each is an entry in memory.
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
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body = app.gates.bodies.read("key", &headers, body, MAX_BYTES).await?.bytes;
    let _alone = app.gates.administration.lock().await;
    let key = draft(utf8(&body, "key")?, &app)?;
    let count = app.access.keys().len();
    if count >= MAX_KEYS {
        let detail = format!("there are {count} keys, its maximum, with those that were revoked");
        return Err(ApiError::conflict("too_many_keys", detail));
    }
    if auth::is_open(&app.settings.keys, &*app.access) && !key.scopes.contains(&Scope::Admin) {
        let detail = "from the first key on every request needs one: give it the scope admin, or \
                      nobody could make another";
        return Err(ApiError::conflict("first_key", detail));
    }
    // 256 random bits: a plain digest of them is as good as they are.
    let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let ApiKey { name, tenant, scopes, expires_at, .. } = &key;
    let detail =
        json!({ "name": name, "tenant": tenant, "scopes": scopes, "expires_at": expires_at });
    app.audit(&caller, "key.create", &key.id, detail).await?;
    app.access.add_key(key.clone(), Digest::of(token.as_bytes())).await?;
    let mut view = json!(key);
    view["key"] = token.into();
    Ok((StatusCode::CREATED, Json(view)))
}

fn draft(text: &str, app: &App) -> Result<ApiKey, ApiError> {
    let now = app.clock.now();
    let mut fields = Fields::of_json(text, "key")?;
    let name = fields.take("name", "a text").unwrap_or_else(String::new);
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        fields.wrong("name", format!("is not a text of at most {MAX_NAME} characters"));
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
    let life: Option<u64> = fields.take("expires_in_s", "a whole number of seconds");
    let expires_at = life.map(|seconds| after(now, Duration::from_secs(seconds)));
    let errors = fields.into_errors("is not a field of a key");
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let id = format!("key-{}", hex(&rand::random::<[u8; 6]>()));
    let (tenant, scopes, created_at) = (tenant.unwrap_or_default(), granted, now);
    Ok(ApiKey { id, name, tenant, scopes, created_at, expires_at, revoked_at: None })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) async fn list(State(app): State<App>) -> Json<Value> {
    Json(json!({ "keys": app.access.keys() }))
}

/// Revokes a key: it lets nobody in from now on.
pub(super) async fn revoke(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Json<ApiKey>, ApiError> {
    let _alone = app.gates.administration.lock().await;
    let keys = app.access.keys();
    let unknown = || ApiError::not_found("key_not_found", "there is no key with this id");
    let key = keys.iter().find(|key| key.id == id).ok_or_else(unknown)?;
    let now = app.clock.now();
    let lets_admins_in = |key: &&ApiKey| key.is_valid(now) && key.scopes.contains(&Scope::Admin);
    let others = keys.iter().filter(|other| other.id != id);
    if !app.settings.keys.are_there()
        && lets_admins_in(&key)
        && others.filter(lets_admins_in).count() == 0
    {
        let detail = "it is the last key with the scope admin: make another one first";
        return Err(ApiError::conflict("last_key", detail));
    }
    app.audit(&caller, "key.revoke", &id, json!({ "tenant": key.tenant })).await?;
    app.access.revoke_key(&id, now).await?.map(Json).ok_or_else(unknown)
}
