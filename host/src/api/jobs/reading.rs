//! Parses a job from the fields of a request, so that every invalid field is named.

use std::collections::BTreeMap;
use std::time::Duration;

use jobwright_core::clock::Timestamp;
use jobwright_core::job::Payload;
use jobwright_core::limits::LimitsRequest;
use jobwright_core::name::shorten;
use jobwright_core::retry::DEFAULT_MAX_ATTEMPTS;

use super::payload;
use crate::api::http::error::ApiError;
use crate::api::http::fields::Fields;
use crate::api::plugin_settings::{limits, retries};
use crate::api::settings::ApiSettings;
use crate::intake::{Due, FieldFault, JobDraft, JobOptions, TOO_FAR, fault_of_payload};

/// The message for an unknown field.
const UNKNOWN_FIELD: &str = "is not a field of a job";

/// The shape of spans.
const MILLISECONDS: &str = "a whole number of milliseconds";

/// Parses a job. If `payload` is `None`, it is a field too. Values that intake would refuse are reported here,
/// together with fields that cannot be parsed.
pub(super) fn draft(
    mut fields: Fields,
    payload: Option<Payload>,
    settings: &ApiSettings,
    now: Timestamp,
) -> Result<JobDraft, ApiError> {
    let payload = match payload {
        Some(payload) => payload,
        None => payload::take(&mut fields)?,
    };
    if payload.bytes.len() as u64 > settings.payload_bytes {
        return Err(ApiError::too_large("payload", settings.payload_bytes));
    }
    name_all(&mut fields, fault_of_payload(&payload));
    let plugin = fields.parse("plugin");
    if plugin.is_none() {
        fields.missing("plugin", "is missing: name the plugin to run");
    }
    let options = options(&mut fields, settings, now);
    let errors = fields.into_errors(UNKNOWN_FIELD);
    match plugin {
        Some(plugin) if errors.is_empty() => Ok(JobDraft { plugin, payload, options }),
        _ => Err(ApiError::invalid(errors)),
    }
}

fn name_all(fields: &mut Fields, faults: impl IntoIterator<Item = FieldFault>) {
    for FieldFault { field, message } in faults {
        fields.wrong(field, message);
    }
}

fn options(fields: &mut Fields, settings: &ApiSettings, now: Timestamp) -> JobOptions {
    let due = due(fields);
    name_all(fields, due.fault(now));
    let max_attempts = fields.take("max_attempts", &JobOptions::attempts_shape());
    let max_attempts = max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS);
    name_all(fields, JobOptions::fault_of_attempts(max_attempts));
    let retries = retries::take(fields);
    let mut requested = LimitsRequest::default();
    limits::take(fields, &mut requested, &settings.limits);
    let options = JobOptions {
        due,
        ttl_ms: fields.take("ttl_ms", MILLISECONDS),
        deadline_ms: fields.take("deadline_ms", MILLISECONDS),
        queue: fields.parse("queue").unwrap_or_default(),
        priority: fields.take("priority", "one of 1 (first) to 4 (last)").unwrap_or_default(),
        max_attempts,
        retry_on: retries.retry_on.flatten(),
        backoff: retries.backoff.flatten(),
        limits: requested,
        entrypoint: fields.take("entrypoint", "a string"),
        args: fields.take("args", "a list of strings").unwrap_or_default(),
        env: variables(fields),
        tags: fields.take("tags", "a list of strings").unwrap_or_default(),
        deterministic: fields.take("deterministic", "true or false").unwrap_or_default(),
        inject_env: fields.take("inject_env", "true or false"),
    };
    name_all(fields, options.faults_of_times(now));
    name_all(fields, options.faults_of_texts());
    options
}

fn variables(fields: &mut Fields) -> BTreeMap<String, String> {
    let Some(mut given) = fields.take_object("env").flatten() else { return BTreeMap::new() };
    let mut variables = BTreeMap::new();
    for name in given.names() {
        match given.change::<String>(&name, "a string") {
            Some(Some(value)) => drop(variables.insert(name, value)),
            Some(None) => given.wrong(name, "expected a string, got `null`"),
            None => {}
        }
    }
    fields.absorb("env", given, UNKNOWN_FIELD);
    variables
}

fn due(fields: &mut Fields) -> Due {
    let delay = fields.take::<u64>("delay_ms", MILLISECONDS).map(Duration::from_millis);
    let at = time(fields, "scheduled_at");
    if delay.is_some() && at.is_some() {
        fields.wrong("delay_ms", "excludes `scheduled_at`: give one");
    }
    match (delay, at) {
        (Some(delay), _) => Due::After(delay),
        (None, Some(at)) => Due::At(at),
        (None, None) => Due::Now,
    }
}

fn time(fields: &mut Fields, name: &str) -> Option<Timestamp> {
    const SHAPE: &str = "a time with its zone, such as 2026-01-31T09:30:00Z";
    let text = fields.take::<String>(name, SHAPE)?;
    let time = text.parse().ok();
    if time.is_none() {
        let message = match is_beyond_all_time(&text) {
            true => TOO_FAR.to_owned(),
            false => format!("expected {SHAPE}, got `{}`", shorten(&text)),
        };
        fields.wrong(name, message);
    }
    time
}

/// Whether a string would be a time if its year were another one: [`Timestamp`] ends within the year 9999.
fn is_beyond_all_time(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let Some((year, rest)) = text.split_once('-') else { return false };
    let digits = year.trim_start_matches('0');
    let is_late =
        digits.bytes().all(|b| b.is_ascii_digit()) && (digits.len() > 4 || digits == "9999");
    is_late && format!("2000-{rest}").parse::<Timestamp>().is_ok()
}
