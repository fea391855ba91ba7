//! Secrets: setting, listing without values, and removing.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jobwright_core::grant::origin::NOT_AN_ORIGIN;
use jobwright_core::grant::{Origin, SecretName};
use jobwright_core::secret::{MAX_ORIGINS, Secret, SecretValue};
use serde_json::{Value, json};

use super::app::App;
use super::http::auth::By;
use super::http::body::RawBody;
use super::http::error::{ApiError, FieldError};
use super::http::fields::{Fields, utf8};
use super::http::path::Path;
use super::http::problem_code::ProblemCode;

/// The longest body, in bytes: the longest value, with each byte escaped, and its origins.
const MAX_BYTES: u64 = 32 << 10;

pub(super) async fn list(State(app): State<App>, By(caller): By) -> Result<Json<Value>, ApiError> {
    let all = app.parts.secrets.list(&caller.tenant).await?;
    let secrets: Vec<Value> = all.iter().map(|(name, secret)| view(name, secret)).collect();
    Ok(Json(json!({ "secrets": secrets })))
}

pub(super) async fn set(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
    body: RawBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let name = parse(&name)?;
    let body = app.body(&caller, body, "secret", MAX_BYTES).await?.bytes;
    let fields = Fields::of_json(utf8(&body, "secret")?, "secret")?;
    let (value, origins) = parse_secret(fields)?;
    let secret = Secret { value, origins, created_at: app.parts.jobs.clock.now() };
    let shown = view(&name, &secret);
    let detail = json!({ "origins": secret.origins });
    let _permit = app.audit(&caller, "secret.set", name.as_str(), detail).await?;
    let is_new = app.parts.secrets.set(&caller.tenant, &name, secret).await?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(shown)))
}

pub(super) async fn remove(
    State(app): State<App>,
    By(caller): By,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let name = parse(&name)?;
    let _permit = app.audit(&caller, "secret.remove", name.as_str(), json!({})).await?;
    if app.parts.secrets.remove(&caller.tenant, &name, app.parts.jobs.clock.now()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::new(ProblemCode::SecretNotFound, format!("there is no secret `{name}`")))
    }
}

/// Parses a secret. Unlike those of `Fields::take`, these errors never repeat the input, which may be the value
/// in the wrong field.
fn parse_secret(mut fields: Fields) -> Result<(SecretValue, Vec<Origin>), ApiError> {
    let string = fields.take_raw("value").map(|raw| serde_json::from_str::<String>(raw.get()));
    let value = match string {
        None => Err("is missing".to_owned()),
        Some(Err(_)) => Err("is not a string".to_owned()),
        Some(Ok(string)) => SecretValue::try_from(string).map_err(|error| error.to_string()),
    };
    let origins = parse_origins(&mut fields);
    if let Err(message) = &value {
        fields.wrong("value", message);
    }
    let is_known =
        |error: &FieldError| error.field == "value" || error.field.starts_with("origins");
    let (mut errors, others): (Vec<_>, Vec<_>) =
        fields.into_errors("").into_iter().partition(is_known);
    if !others.is_empty() {
        errors.push(FieldError::new("secret", "has other fields than `value` and `origins`"));
    }
    match value {
        Ok(value) if errors.is_empty() => Ok((value, origins)),
        _ => Err(ApiError::invalid(errors)),
    }
}

/// The valid origins of a secret; the others are errors of `fields`.
fn parse_origins(fields: &mut Fields) -> Vec<Origin> {
    let strings =
        fields.take_raw("origins").map(|raw| serde_json::from_str::<Vec<String>>(raw.get()));
    if let Some(Err(_)) = strings {
        fields.wrong("origins", "is not a list of origins");
    }
    let strings = strings.into_iter().flatten().flatten();
    let origins: Vec<_> = strings.map(|string| string.parse::<Origin>()).collect();
    for (index, _) in origins.iter().enumerate().filter(|(_, origin)| origin.is_err()) {
        fields.wrong(format!("origins.{index}"), NOT_AN_ORIGIN);
    }
    if !(1..=MAX_ORIGINS).contains(&origins.len()) {
        let message = format!("name 1 to {MAX_ORIGINS} origins to which the secret can be sent");
        fields.missing("origins", &message);
    }
    origins.into_iter().flatten().collect()
}

fn view(name: &SecretName, secret: &Secret) -> Value {
    json!({ "name": name, "origins": secret.origins, "created_at": secret.created_at })
}

fn parse(name: &str) -> Result<SecretName, ApiError> {
    name.parse().map_err(|error| ApiError::new(ProblemCode::InvalidName, error))
}
