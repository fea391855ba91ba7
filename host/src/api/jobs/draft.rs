//! What a request asks for, checked as far as it can be without looking anything up. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::job::{JobSpec, Payload, Priority, QueueName};
use jobwright_core::limits::{InvalidLimit, LimitsRequest};
use jobwright_core::plugin::PluginRef;
use jobwright_core::registry::Resolved;
use jobwright_core::retry::{DEFAULT_MAX_ATTEMPTS, MAX_ATTEMPTS_CAP};

use super::fields::Fields;
use crate::api::ApiSettings;
use crate::api::content::is_media_type;
use crate::api::error::{ApiError, FieldError};

/// The most that arguments, environment and tags may take together, in bytes: they are kept in the
/// hot table. Long data belongs into the payload.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// The most arguments, variables, and tags, each.
const MAX_ITEMS: usize = 64;

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
}

impl Draft {
    /// The draft of a JSON request, which carries its payload in a field.
    pub(super) fn of_json(
        text: &str,
        settings: &ApiSettings,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        let mut fields = Fields::of_json(text)?;
        let json = fields.take_raw("payload");
        let base64 = fields.take::<String>("payload_base64");
        let content_type = fields.take::<String>("content_type");
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
        let plugin = fields.take::<String>("plugin");
        let plugin = match plugin.as_deref().map(str::parse::<PluginRef>) {
            Some(Ok(plugin)) => Some(plugin),
            Some(Err(error)) => {
                fields.wrong("plugin", error);
                None
            }
            None => {
                fields.missing("plugin", "is missing: name the plugin to run");
                None
            }
        };
        let scheduled_at = scheduled_at(&mut fields, now);
        let options = Options::take(&mut fields, settings);
        let errors = fields.into_errors();
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
        settings: &ApiSettings,
    ) -> Result<JobSpec, ApiError> {
        let Self { plugin, options, .. } = self;
        let minimum = found.version.inspection.minimum_memory_bytes;
        let limits = settings
            .limits
            .complete(options.limits, found.settings.limits, minimum)
            .map_err(|faults| ApiError::invalid(faults.iter().map(limit_error).collect()))?;
        Ok(JobSpec {
            plugin: plugin.name,
            version: found.version.version,
            digest: found.version.digest,
            queue: options.queue,
            priority: options.priority,
            max_attempts: options.max_attempts,
            limits,
            retry: found.settings.retry_on.unwrap_or_default(),
            entrypoint: None,
            args: options.args,
            env: options.env,
            tags: options.tags,
            deterministic: options.deterministic,
            output_type: found.settings.output_type,
        })
    }
}

impl Options {
    fn take(fields: &mut Fields, settings: &ApiSettings) -> Self {
        let max_attempts = fields.take("max_attempts").unwrap_or(DEFAULT_MAX_ATTEMPTS);
        if !(1..=MAX_ATTEMPTS_CAP).contains(&max_attempts) {
            let message = format!("{max_attempts} is not one of 1 to {MAX_ATTEMPTS_CAP}");
            fields.wrong("max_attempts", message);
        }
        let limits = fields.take::<LimitsRequest>("limits").unwrap_or_default();
        for fault in settings.limits.faults(&limits) {
            let FieldError { field, message } = limit_error(&fault);
            fields.wrong(field, message);
        }
        let options = Self {
            queue: fields.take("queue").unwrap_or_default(),
            priority: fields.take("priority").unwrap_or_default(),
            max_attempts,
            limits,
            args: fields.take("args").unwrap_or_default(),
            env: fields.take("env").unwrap_or_default(),
            tags: fields.take("tags").unwrap_or_default(),
            deterministic: fields.take("deterministic").unwrap_or_default(),
        };
        options.check_text(fields);
        options
    }

    fn check_text(&self, fields: &mut Fields) {
        for (field, count) in
            [("args", self.args.len()), ("env", self.env.len()), ("tags", self.tags.len())]
        {
            if count > MAX_ITEMS {
                fields.wrong(field, format!("{count} are more than {MAX_ITEMS}, the most taken"));
            }
        }
        let pairs = self.env.iter().flat_map(|(name, value)| [name, value]);
        let texts = self.args.iter().chain(&self.tags).chain(pairs);
        let total: usize = texts.clone().map(String::len).sum();
        if total > MAX_TEXT_BYTES {
            let message = format!(
                "args, env and tags take {total} bytes, more than {MAX_TEXT_BYTES}: put long data \
                 into the payload"
            );
            fields.wrong("args", message);
        }
        if self.args.iter().chain(self.env.values()).any(|text| text.contains('\0')) {
            fields.wrong("args", "no argument or variable may contain a NUL");
        }
        for name in self.env.keys().take(MAX_ITEMS).filter(|name| !is_variable(name)) {
            let message = "is not a variable's name: use A-Z, a-z, 0-9 and `_`, no digit first, \
                           and not `JOBWRIGHT_…`";
            fields.wrong(format!("env.{}", jobwright_core::name::shorten(name)), message);
        }
    }
}

fn limit_error(fault: &InvalidLimit) -> FieldError {
    FieldError::new(format!("limits.{}", fault.field), &fault.message)
}

fn scheduled_at(fields: &mut Fields, now: Timestamp) -> Timestamp {
    let delay = fields.take::<u64>("delay_ms").map(Duration::from_millis);
    let at = fields.take::<Timestamp>("scheduled_at");
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

fn is_variable(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(plain)
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        && !name.starts_with("JOBWRIGHT_")
}
