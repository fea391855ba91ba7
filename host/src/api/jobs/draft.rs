//! What a request asks for, checked as far as it can be without looking anything up. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::command::Texts;
use jobwright_core::job::{JobSpec, Payload, Priority, QueueName};
use jobwright_core::limits::LimitsRequest;
use jobwright_core::outcome::is_media_type;
use jobwright_core::plugin::PluginRef;
use jobwright_core::registry::Resolved;
use jobwright_core::retry::{DEFAULT_MAX_ATTEMPTS, MAX_ATTEMPTS_CAP};
use jobwright_core::tenant::TenantName;

use crate::api::error::{ApiError, FieldError};
use crate::api::fields::Fields;
use crate::api::{ApiSettings, limits};

/// What is said of a field that no job has.
const STRANGER: &str = "is not a field of a job";

/// How far ahead a job may be scheduled.
const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A request whose fields are all well formed.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) plugin: PluginRef,
    pub(super) payload: Payload,
    pub(super) scheduled_at: Timestamp,
    options: Options,
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
}

impl Draft {
    /// The draft of a JSON request, which carries its payload in a field.
    pub(super) fn of_json(
        text: &str,
        settings: &ApiSettings,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        let mut fields = Fields::of_json(text, "body")?;
        let json = fields.take_raw("payload");
        let base64 = fields.take::<String>("payload_base64", "a text");
        let content_type = fields.take::<String>("content_type", "a text");
        let payload = match (json, base64) {
            (Some(_), Some(_)) => {
                let detail = "`payload` and `payload_base64` exclude each other: give one";
                return Err(ApiError::bad_request("two_payloads", detail));
            }
            (Some(json), None) => Payload {
                content_type: Some(content_type.unwrap_or("application/json".to_owned())),
                bytes: json.get().to_owned().into_bytes().into(),
            },
            (None, Some(text)) => {
                let bytes = STANDARD.decode(text).unwrap_or_else(|error| {
                    fields.wrong("payload_base64", error);
                    vec![]
                });
                Payload { content_type, bytes: bytes.into() }
            }
            (None, None) => Payload { content_type, ..Payload::default() },
        };
        Self::build(fields, payload, settings, now)
    }

    /// The draft of a request whose body is the payload.
    pub(super) fn of_query(
        pairs: Vec<(String, String)>,
        payload: Payload,
        settings: &ApiSettings,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        Self::build(Fields::of_query(pairs), payload, settings, now)
    }

    fn build(
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
        let scheduled_at = scheduled_at(&mut fields, now);
        let options = Options::take(&mut fields, settings);
        let errors = fields.into_errors(STRANGER);
        match plugin {
            Some(plugin) if errors.is_empty() => {
                Ok(Self { plugin, payload, scheduled_at, options })
            }
            _ => Err(ApiError::invalid(errors)),
        }
    }

    /// The job that this asks for, of the plugin that was found.
    pub(super) fn resolve(
        self,
        found: Resolved,
        tenant: TenantName,
        settings: &ApiSettings,
    ) -> Result<JobSpec, ApiError> {
        let Self { plugin, options, .. } = self;
        let inspection = &found.version.inspection;
        let minimum = inspection.minimum_memory_bytes;
        let limits = settings.limits.complete(options.limits, found.settings.limits, minimum);
        let entrypoint = inspection.entrypoint(options.entrypoint.as_deref());
        let (limits, entrypoint) = match (limits, entrypoint) {
            (Ok(limits), Ok(entrypoint)) => (limits, entrypoint),
            (limits, entrypoint) => {
                let faults = limits.err().unwrap_or_default();
                let fault = entrypoint.err().map(|fault| FieldError::new("entrypoint", fault));
                return Err(ApiError::invalid(
                    faults.iter().map(limits::error).chain(fault).collect(),
                ));
            }
        };
        Ok(JobSpec {
            tenant,
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
            deterministic: options.deterministic || found.settings.grants.deterministic,
            output_type: found.settings.output_type,
        })
    }
}

impl Options {
    fn take(fields: &mut Fields, settings: &ApiSettings) -> Self {
        let attempts = format!("one of 1 to {MAX_ATTEMPTS_CAP}");
        let max_attempts = fields.take("max_attempts", &attempts).unwrap_or(DEFAULT_MAX_ATTEMPTS);
        if !(1..=MAX_ATTEMPTS_CAP).contains(&max_attempts) {
            fields.wrong("max_attempts", format!("`{max_attempts}` is not {attempts}"));
        }
        let mut asked = LimitsRequest::default();
        limits::take(fields, &mut asked, &settings.limits);
        let options = Self {
            queue: fields.parse("queue").unwrap_or_default(),
            priority: fields.take("priority", "one of 1 (first) to 4 (last)").unwrap_or_default(),
            max_attempts,
            limits: asked,
            entrypoint: fields.take("entrypoint", "a text"),
            args: fields.take("args", "a list of texts").unwrap_or_default(),
            env: variables(fields),
            tags: fields.take("tags", "a list of texts").unwrap_or_default(),
            deterministic: fields.take("deterministic", "true or false").unwrap_or_default(),
        };
        let texts = Texts { args: &options.args, env: &options.env, tags: &options.tags };
        for fault in texts.faults() {
            fields.wrong(fault.field, fault.message);
        }
        options
    }
}

fn variables(fields: &mut Fields) -> BTreeMap<String, String> {
    let Some(mut given) = fields.take_object("env").flatten() else { return BTreeMap::new() };
    let mut variables = BTreeMap::new();
    for name in given.names() {
        match given.change::<String>(&name, "a text") {
            Some(Some(value)) => drop(variables.insert(name, value)),
            Some(None) => given.wrong(name, "`null` is not a text"),
            None => {}
        }
    }
    fields.absorb("env", given, STRANGER);
    variables
}

fn scheduled_at(fields: &mut Fields, now: Timestamp) -> Timestamp {
    let delay =
        fields.take::<u64>("delay_ms", "a whole number of milliseconds").map(Duration::from_millis);
    let at = fields.take::<Timestamp>("scheduled_at", "a time such as 2026-01-31T09:30:00Z");
    if delay.is_some() && at.is_some() {
        fields.wrong("delay_ms", "excludes `scheduled_at`: give one");
    }
    let due = delay.map(|delay| after(now, delay)).or(at).unwrap_or(now);
    if due > after(now, MAX_DELAY) {
        let field = if delay.is_some() { "delay_ms" } else { "scheduled_at" };
        fields.wrong(field, "is more than 366 days ahead, the most that is taken");
    }
    // The stores keep microseconds.
    Timestamp::from_microsecond(due.as_microsecond()).unwrap_or(due).max(now)
}

fn check_content_type(fields: &mut Fields, content_type: Option<&str>) {
    if content_type.is_some_and(|text| !is_media_type(text)) {
        fields.wrong("content_type", "is not a media type such as text/plain");
    }
}
