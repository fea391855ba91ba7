//! Secrets: set, named, removed; never shown.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jobwright_core::grant::origin::NOT_AN_ORIGIN;
use jobwright_core::grant::{Origin, SecretName};
use jobwright_core::secret::{MAX_ORIGINS, Secret, SecretValue};
use serde_json::{Value, json};

use super::app::App;
use super::http::auth::By;
use super::http::error::{ApiError, FieldError};
use super::http::fields::{Fields, utf8};
use super::http::path::Path;

/// The longest request, in bytes: the longest value, each byte escaped, and its origins.
const MAX_BYTES: u64 = 32 << 10;

pub(super) async fn list(State(app): State<App>, By(caller): By) -> Json<Value> {
    let all = app.secrets.list(&caller.tenant);
    let secrets: Vec<Value> = all.iter().map(|(name, secret)| view(name, secret)).collect();
    Json(json!({ "secrets": secrets }))
}

pub(super) async fn set(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let name = parse(&name)?;
    let body = app.body(&caller, "secret", &headers, body, MAX_BYTES).await?.bytes;
    let fields = Fields::of_json(utf8(&body, "secret")?, "secret")?;
    let (value, origins) = taken(fields)?;
    let secret = Secret { value, origins, created_at: app.clock.now() };
    let shown = view(&name, &secret);
    let detail = json!({ "origins": secret.origins });
    let _turn = app.audit(&caller, "secret.set", name.as_str(), detail).await?;
    let is_new = app.secrets.set(&caller.tenant, &name, secret).await?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(shown)))
}

pub(super) async fn remove(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let name = parse(&name)?;
    let _turn = app.audit(&caller, "secret.remove", name.as_str(), json!({})).await?;
    if app.secrets.remove(&caller.tenant, &name, app.clock.now()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_found("secret_not_found", format!("there is no secret `{name}`")))
    }
}

fn taken(mut fields: Fields) -> Result<(SecretValue, Vec<Origin>), ApiError> {
    // Nothing that is wrong is repeated, as by `Fields::take`: it may be the value, in another's place.
    let text = fields.take_raw("value").map(|raw| serde_json::from_str::<String>(raw.get()));
    let value = match text {
        None => Err("is needed".to_owned()),
        Some(Err(_)) => Err("is not a string".to_owned()),
        Some(Ok(text)) => SecretValue::try_from(text).map_err(|error| error.to_string()),
    };
    let texts =
        fields.take_raw("origins").map(|raw| serde_json::from_str::<Vec<String>>(raw.get()));
    if let Some(Err(_)) = texts {
        fields.wrong("origins", "is not a list of origins");
    }
    let texts = texts.into_iter().flatten().flatten();
    let origins: Vec<_> = texts.map(|text| text.parse::<Origin>()).collect();
    for (place, _) in origins.iter().enumerate().filter(|(_, origin)| origin.is_err()) {
        fields.wrong(format!("origins.{place}"), NOT_AN_ORIGIN);
    }
    if !(1..=MAX_ORIGINS).contains(&origins.len()) {
        let message = format!("name 1 to {MAX_ORIGINS} origins that it may be sent to");
        fields.missing("origins", &message);
    }
    if let Err(message) = &value {
        fields.wrong("value", message);
    }
    let ours = |error: &FieldError| error.field == "value" || error.field.starts_with("origins");
    let (mut errors, others): (Vec<_>, Vec<_>) = fields.into_errors("").into_iter().partition(ours);
    if !others.is_empty() {
        errors.push(FieldError::new("secret", "has other fields than `value` and `origins`"));
    }
    match value {
        Ok(value) if errors.is_empty() => Ok((value, origins.into_iter().flatten().collect())),
        _ => Err(ApiError::invalid(errors)),
    }
}

fn view(name: &SecretName, secret: &Secret) -> Value {
    json!({ "name": name, "origins": secret.origins, "created_at": secret.created_at })
}

fn parse(name: &str) -> Result<SecretName, ApiError> {
    name.parse().map_err(|error| ApiError::bad_request("invalid_name", error))
}
