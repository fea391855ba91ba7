//! What a request asks for, checked as far as it can be without looking anything up. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jobwright_core::access::{Caller, Scope};
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::command::Texts;
use jobwright_core::grant::Determinism;
use jobwright_core::job::{JobSpec, MAX_DELAY, Payload, Priority, QueueName};
use jobwright_core::limits::LimitsRequest;
use jobwright_core::name::shorten;
use jobwright_core::outcome::is_media_type;
use jobwright_core::plugin::PluginRef;
use jobwright_core::registry::Resolved;
use jobwright_core::retry::{DEFAULT_MAX_ATTEMPTS, MAX_ATTEMPTS_CAP};

use super::payload;
use crate::api::http::error::{ApiError, FieldError};
use crate::api::http::fields::Fields;
use crate::api::plugin_settings::limits;
use crate::api::settings::ApiSettings;

/// What is said of a field that no job has.
const UNKNOWN_FIELD: &str = "is not a field of a job";

/// What is said of a time beyond [`MAX_DELAY`].
const TOO_FAR: &str = "is too far ahead: a job can be scheduled at most 366 days ahead";

/// A request whose fields are all well formed.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) plugin: PluginRef,
    pub(super) payload: Payload,
    pub(super) when: When,
    options: Options,
}

/// When a job is to become due.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub(super) at: Timestamp,
    /// Whether the client gave this time, which is then one of the wall clock.
    pub(super) on_wall: bool,
}

#[derive(Debug)]
struct Options {
    queue: QueueName,
    priority: Priority,
    max_attempts: u16,
    limits: LimitsRequest,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    tags: Vec<String>,
    deterministic: bool,
    entrypoint: Option<String>,
    inject_env: Option<bool>,
}

impl Draft {
    /// The draft of a job that carries its payload in a field.
    pub(super) fn of_json(
        mut fields: Fields,
        settings: &ApiSettings,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        let payload = payload::take(&mut fields)?;
        Self::build(fields, payload, settings, now)
    }

    /// The draft of a job with this payload.
    pub(super) fn build(
        mut fields: Fields,
        payload: Payload,
        settings: &ApiSettings,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        if payload.bytes.len() as u64 > settings.payload_bytes {
            return Err(ApiError::too_large("payload", settings.payload_bytes));
        }
        check_content_type(&mut fields, payload.content_type.as_deref());
        let plugin = fields.parse("plugin");
        if plugin.is_none() {
            fields.missing("plugin", "is missing: name the plugin to run");
        }
        let when = when(&mut fields, now);
        let options = Options::take(&mut fields, settings);
        let errors = fields.into_errors(UNKNOWN_FIELD);
        match plugin {
            Some(plugin) if errors.is_empty() => Ok(Self { plugin, payload, when, options }),
            _ => Err(ApiError::invalid(errors)),
        }
    }

    /// The job that `caller` asks for, of the plugin that was found.
    pub(super) fn resolve(
        self,
        found: Resolved,
        caller: &Caller,
        settings: &ApiSettings,
    ) -> Result<JobSpec, ApiError> {
        let Self { plugin, options, .. } = self;
        let inspection = &found.version.inspection;
        let minimum = inspection.minimum_memory_bytes;
        let limits = settings.limits.complete(options.limits, found.settings.limits, minimum);
        let entrypoint = inspection.entrypoint(options.entrypoint.as_deref());
        let deterministic = Deterministic::decide(
            found.settings.grants.deterministic,
            caller,
            options.deterministic,
        );
        let (limits, entrypoint, deterministic) = match (limits, entrypoint, deterministic) {
            (Ok(limits), Ok(entrypoint), Ok(is)) => (limits, entrypoint, is),
            (limits, entrypoint, deterministic) => {
                let faults = limits.err().unwrap_or_default();
                let fault = entrypoint.err().map(|fault| FieldError::new("entrypoint", fault));
                let faults = faults.iter().map(limits::error).chain(fault);
                return Err(ApiError::invalid(faults.chain(deterministic.err()).collect()));
            }
        };
        Ok(JobSpec {
            tenant: caller.tenant.clone(),
            plugin: plugin.name,
            version: found.version.version,
            digest: found.version.digest,
            queue: options.queue,
            priority: options.priority,
            max_attempts: options.max_attempts,
            limits,
            retry: found.settings.retry_on.unwrap_or_default(),
            entrypoint,
            args: options.args,
            env: options.env,
            tags: options.tags,
            deterministic: deterministic.is,
            deterministic_by_grant: deterministic.by_grant,
            output_type: found.settings.output_type,
            inject_env: options.inject_env.or(found.settings.inject_env).unwrap_or(true),
            exit_codes: found.settings.exit_codes,
        })
    }
}

impl Options {
    fn take(fields: &mut Fields, settings: &ApiSettings) -> Self {
        let attempts = format!("a whole number from 1 to {MAX_ATTEMPTS_CAP}");
        let max_attempts = fields.take("max_attempts", &attempts).unwrap_or(DEFAULT_MAX_ATTEMPTS);
        if !(1..=MAX_ATTEMPTS_CAP).contains(&max_attempts) {
            fields.wrong("max_attempts", format!("expected {attempts}, got `{max_attempts}`"));
        }
        let mut asked = LimitsRequest::default();
        limits::take(fields, &mut asked, &settings.limits);
        let options = Self {
            queue: fields.parse("queue").unwrap_or_default(),
            priority: fields.take("priority", "one of 1 (first) to 4 (last)").unwrap_or_default(),
            max_attempts,
            limits: asked,
            entrypoint: fields.take("entrypoint", "a string"),
            args: fields.take("args", "a list of strings").unwrap_or_default(),
            env: variables(fields),
            tags: fields.take("tags", "a list of strings").unwrap_or_default(),
            deterministic: fields.take("deterministic", "true or false").unwrap_or_default(),
            inject_env: fields.take("inject_env", "true or false"),
        };
        let texts = Texts { args: &options.args, env: &options.env, tags: &options.tags };
        for fault in texts.faults() {
            fields.wrong(fault.field, fault.message);
        }
        options
    }
}

/// Whether a job is deterministic.
struct Deterministic {
    is: bool,
    /// Whether nothing but the grant allows it.
    by_grant: bool,
}

impl Deterministic {
    /// From the grant and the request. Administrators need no grant.
    fn decide(granted: Determinism, caller: &Caller, asked: bool) -> Result<Self, FieldError> {
        if asked && caller.may(Scope::Admin) {
            return Ok(Self { is: true, by_grant: false });
        }
        let is = granted.decide(asked).ok_or_else(|| {
            let message = "the plugin is not granted deterministic jobs: an administrator allows \
                           them by the grant {\"deterministic\": \"optional\"}";
            FieldError::new("deterministic", message)
        })?;
        Ok(Self { is, by_grant: is })
    }
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

fn when(fields: &mut Fields, now: Timestamp) -> When {
    let delay =
        fields.take::<u64>("delay_ms", "a whole number of milliseconds").map(Duration::from_millis);
    let at = time(fields, "scheduled_at");
    if delay.is_some() && at.is_some() {
        fields.wrong("delay_ms", "excludes `scheduled_at`: give one");
    }
    let due = delay.map(|delay| after(now, delay)).or(at).unwrap_or(now);
    if due > after(now, MAX_DELAY) {
        let field = if delay.is_some() { "delay_ms" } else { "scheduled_at" };
        fields.wrong(field, TOO_FAR);
    }
    // The stores keep microseconds.
    let due = Timestamp::from_microsecond(due.as_microsecond()).unwrap_or(due);
    When { at: due, on_wall: delay.is_none() && at.is_some() }
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

/// Whether a text would be a time if its year were another one: [`Timestamp`] ends within the year 9999.
fn is_beyond_all_time(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let Some((year, rest)) = text.split_once('-') else { return false };
    let digits = year.trim_start_matches('0');
    let is_late =
        digits.bytes().all(|b| b.is_ascii_digit()) && (digits.len() > 4 || digits == "9999");
    is_late && format!("2000-{rest}").parse::<Timestamp>().is_ok()
}

fn check_content_type(fields: &mut Fields, content_type: Option<&str>) {
    if content_type.is_some_and(|text| !is_media_type(text)) {
        fields.wrong("content_type", "is not a media type such as text/plain");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jobwright_core::access::Proof;
    use jobwright_core::tenant::TenantName;

    use super::*;

    #[test]
    fn administrators_allow_what_they_ask_for_and_the_grant_all_else() {
        let admin = Caller::operator("root", Proof::Open);
        let tenant = TenantName::default();
        let scopes = BTreeSet::from([Scope::JobsSubmit]);
        let submitter = Caller { actor: "s".into(), tenant, scopes, proof: Proof::File };
        for (granted, caller, asked, decided) in [
            (Determinism::Never, &admin, true, Some((true, false))),
            (Determinism::Never, &admin, false, Some((false, false))),
            (Determinism::Never, &submitter, true, None),
            (Determinism::Optional, &admin, true, Some((true, false))),
            (Determinism::Optional, &submitter, true, Some((true, true))),
            (Determinism::Optional, &submitter, false, Some((false, false))),
            (Determinism::Always, &admin, true, Some((true, false))),
            (Determinism::Always, &admin, false, Some((true, true))),
            (Determinism::Always, &submitter, true, Some((true, true))),
        ] {
            let found = Deterministic::decide(granted, caller, asked).ok();
            let found = found.map(|found| (found.is, found.by_grant));
            assert_eq!(found, decided, "{granted:?} {asked} {}", caller.actor);
        }
    }
}
