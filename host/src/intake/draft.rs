//! What a submitter asks for, and the job that becomes of it once its plugin is known. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jobwright_core::clock::{MAX_DELAY, Timestamp, after, until};
use jobwright_core::command::CommandInput;
use jobwright_core::job::{JobSpec, Payload, Priority, QueueName};
use jobwright_core::limits::{InvalidLimit, LimitPolicy, Limits, LimitsRequest};
use jobwright_core::outcome::is_media_type;
use jobwright_core::plugin::{PluginRef, Resolved};
use jobwright_core::retry::{Backoff, MAX_ATTEMPTS_CAP, RetryPolicy};
use jobwright_core::tenant::TenantName;

use super::deterministic::Deterministic;
use super::refused::FieldFault;

/// The message about a time beyond [`MAX_DELAY`].
pub const TOO_FAR: &str = "is too far ahead: a job can be scheduled at most 366 days ahead";

/// A job that is asked for.
#[derive(Debug, Clone)]
pub struct JobDraft {
    /// The plugin to run.
    pub plugin: PluginRef,
    /// What the guest reads.
    pub payload: Payload,
    /// All else.
    pub options: JobOptions,
}

/// What a draft may leave to defaults.
#[derive(Debug, Clone)]
pub struct JobOptions {
    /// When it is to become due.
    pub due: Due,
    /// The queue.
    pub queue: QueueName,
    /// The priority.
    pub priority: Priority,
    /// How many attempts count before it is discarded.
    pub max_attempts: u16,
    /// How long after it is due its first attempt may begin, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// How long after its submission it must be finalized, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// The endings that are retried; absent for those of the plugin.
    pub retry_on: Option<RetryPolicy>,
    /// How long it waits between two attempts; absent for the back-off of the plugin.
    pub backoff: Option<Backoff>,
    /// Limits; absent ones come from the plugin or the host.
    pub limits: LimitsRequest,
    /// Arguments of the guest.
    pub args: Vec<String>,
    /// Environment variables of the guest.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Whether attempts are to be deterministic.
    pub deterministic: bool,
    /// The export to call.
    pub entrypoint: Option<String>,
    /// Whether the host adds its own variables to `env`.
    pub inject_env: Option<bool>,
}

/// When a job is to become due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now,
    /// After a span that the host measures.
    After(Duration),
    /// At a time of the wall clock.
    At(Timestamp),
}

impl Due {
    /// The time on the host's clock, for a job that is submitted at `now`.
    #[must_use]
    pub fn time(self, now: Timestamp) -> Timestamp {
        let due = match self {
            Self::Now => now,
            Self::After(delay) => after(now, delay),
            Self::At(at) => at,
        };
        // The stores keep microseconds.
        Timestamp::from_microsecond(due.as_microsecond()).unwrap_or(due)
    }

    /// What is wrong with it, for a job that is submitted at `now`.
    #[must_use]
    pub fn fault(self, now: Timestamp) -> Option<FieldFault> {
        let field = match self {
            Self::Now => return None,
            Self::After(_) => "delay_ms",
            Self::At(_) => "scheduled_at",
        };
        (self.time(now) > after(now, MAX_DELAY)).then(|| FieldFault::new(field, TOO_FAR))
    }
}

impl JobDraft {
    /// Everything that is wrong with it, as far as that can be told without its plugin.
    #[must_use]
    pub fn faults(&self, policy: &LimitPolicy, now: Timestamp) -> Vec<FieldFault> {
        let options = &self.options;
        let mut faults = Vec::from_iter(fault_of_payload(&self.payload));
        faults.extend(options.due.fault(now));
        faults.extend(options.faults_of_times(now));
        faults.extend(JobOptions::fault_of_attempts(options.max_attempts));
        faults.extend(options.backoff.iter().flat_map(faults_of_backoff));
        faults.extend(policy.faults(&options.limits).iter().map(fault_of_limit));
        faults.extend(options.faults_of_texts());
        faults
    }

    /// The job of `tenant` that becomes of it with the plugin that was found.
    ///
    /// # Errors
    /// Everything that does not fit the plugin.
    pub(super) fn resolve(
        self,
        found: Resolved<'_>,
        context: &Context<'_>,
    ) -> Result<(JobSpec, Payload), Vec<FieldFault>> {
        let Self { plugin, payload, options } = self;
        let settings = found.settings;
        let Fitted { limits, entrypoint, deterministic } = options.fit(found, context)?;
        let spec = JobSpec {
            tenant: context.tenant.clone(),
            plugin: plugin.name,
            version: found.version.version.clone(),
            digest: found.version.digest,
            queue: options.queue,
            priority: options.priority,
            max_attempts: options.max_attempts,
            ttl_ms: options.ttl_ms,
            deadline_ms: options.deadline_ms,
            limits,
            retry: options.retry_on.or_else(|| settings.retry_on.clone()).unwrap_or_default(),
            backoff: options.backoff.or_else(|| settings.backoff.clone()).unwrap_or_default(),
            entrypoint,
            args: options.args,
            env: options.env,
            tags: options.tags,
            deterministic: deterministic.is,
            deterministic_by_grant: deterministic.by_grant,
            output_type: settings.output_type.clone(),
            inject_env: options.inject_env.or(settings.inject_env).unwrap_or(true),
            exit_codes: settings.exit_codes.clone(),
        };
        Ok((spec, payload))
    }
}

/// The options of a draft that its plugin has a say in.
struct Fitted {
    limits: Limits,
    entrypoint: Option<String>,
    deterministic: Deterministic,
}

/// What a draft is resolved with, beside its plugin.
pub(super) struct Context<'a> {
    pub(super) tenant: &'a TenantName,
    pub(super) by_administrator: bool,
    pub(super) policy: &'a LimitPolicy,
}

impl JobOptions {
    /// Completes the options from the plugin and the host.
    fn fit(&self, found: Resolved<'_>, context: &Context<'_>) -> Result<Fitted, Vec<FieldFault>> {
        let inspection = &found.version.inspection;
        let minimum = inspection.minimum_memory_bytes;
        let limits = context.policy.complete(self.limits, found.settings.limits, minimum);
        let entrypoint = inspection.entrypoint(self.entrypoint.as_deref());
        let granted = found.settings.grants.deterministic;
        let deterministic =
            Deterministic::decide(granted, context.by_administrator, self.deterministic);
        match (limits, entrypoint, deterministic) {
            (Ok(limits), Ok(entrypoint), Ok(deterministic)) => {
                Ok(Fitted { limits, entrypoint, deterministic })
            }
            (limits, entrypoint, deterministic) => {
                let faults = limits.err().unwrap_or_default();
                let fault = entrypoint.err().map(|fault| FieldFault::new("entrypoint", fault));
                let faults = faults.iter().map(fault_of_limit).chain(fault);
                Err(faults.chain(deterministic.err()).collect())
            }
        }
    }

    /// The numbers of attempts that a job may have, in words.
    #[must_use]
    pub fn attempts_shape() -> String {
        format!("a whole number from 1 to {MAX_ATTEMPTS_CAP}")
    }

    /// What is wrong with the number of attempts.
    #[must_use]
    pub fn fault_of_attempts(max_attempts: u16) -> Option<FieldFault> {
        let message = || format!("expected {}, got `{max_attempts}`", Self::attempts_shape());
        let is_valid = (1..=MAX_ATTEMPTS_CAP).contains(&max_attempts);
        (!is_valid).then(|| FieldFault::new("max_attempts", message()))
    }

    /// What is wrong with the time to live and the deadline of a job that is submitted at `now`.
    #[must_use]
    pub fn faults_of_times(&self, now: Timestamp) -> Vec<FieldFault> {
        let most = MAX_DELAY.as_millis() as u64;
        let named = [("ttl_ms", self.ttl_ms), ("deadline_ms", self.deadline_ms)];
        let given = named.iter().filter_map(|(field, ms)| Some((*field, (*ms)?)));
        let wrong = given.filter(|(_, ms)| !(1..=most).contains(ms));
        let mut faults: Vec<_> = wrong
            .map(|(field, ms)| {
                FieldFault::new(field, format!("expected 1 to {most} ms, got `{ms}`"))
            })
            .collect();
        let due_ms = until(now, self.due.time(now)).as_millis();
        if let Some(ms) =
            self.deadline_ms.filter(|ms| u128::from(*ms) <= due_ms && faults.is_empty())
        {
            let message = format!(
                "`{ms}` is too small: the job is due in {due_ms} ms, and the deadline counts from its \
                 submission"
            );
            faults.push(FieldFault::new("deadline_ms", message));
        }
        faults
    }

    /// What is wrong with arguments, variables and labels.
    pub fn faults_of_texts(&self) -> impl Iterator<Item = FieldFault> {
        let texts = CommandInput { args: &self.args, env: &self.env, tags: &self.tags };
        texts.faults().into_iter().map(|fault| FieldFault::new(fault.field, fault.message))
    }
}

/// What is wrong with a payload's media type.
#[must_use]
pub fn fault_of_payload(payload: &Payload) -> Option<FieldFault> {
    let is_wrong = payload.content_type.as_ref().is_some_and(|text| !is_media_type(text));
    let message = "is not a media type such as text/plain";
    is_wrong.then(|| FieldFault::new("content_type", message))
}

/// What is wrong with a back-off.
pub fn faults_of_backoff(backoff: &Backoff) -> impl Iterator<Item = FieldFault> {
    let faults = backoff.faults().into_iter();
    faults.map(|fault| FieldFault::new(format!("backoff.{}", fault.field), fault.message))
}

fn fault_of_limit(fault: &InvalidLimit) -> FieldFault {
    FieldFault::new(format!("limits.{}", fault.field), &fault.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn draft() -> JobDraft {
        let options = JobOptions {
            due: Due::Now,
            queue: QueueName::default(),
            priority: Priority::default(),
            max_attempts: 1,
            ttl_ms: None,
            deadline_ms: None,
            retry_on: None,
            backoff: None,
            limits: LimitsRequest::default(),
            args: vec![],
            env: BTreeMap::new(),
            tags: vec![],
            deterministic: false,
            entrypoint: None,
            inject_env: None,
        };
        let payload = Payload { content_type: None, bytes: vec![].into() };
        JobDraft { plugin: "p".parse().expect("a plugin"), payload, options }
    }

    fn faulty(draft: &JobDraft) -> Vec<String> {
        let policy = LimitPolicy::default();
        draft.faults(&policy, NOW).into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn every_invalid_field_is_named() {
        assert_eq!(faulty(&draft()), Vec::<String>::new());
        let mut draft = draft();
        draft.payload.content_type = Some("no type".to_owned());
        draft.options.due = Due::At(after(NOW, MAX_DELAY + Duration::from_secs(1)));
        draft.options.max_attempts = 0;
        draft.options.backoff = Some(Backoff { jitter_percent: 101, ..Backoff::default() });
        draft.options.limits.timeout_ms = Some(0);
        draft.options.args = vec!["x".to_owned(); 10_000];
        let named = [
            "content_type",
            "scheduled_at",
            "max_attempts",
            "backoff.jitter_percent",
            "limits.timeout_ms",
            "args",
        ];
        assert_eq!(faulty(&draft)[..6], named);
        draft.options.due = Due::After(MAX_DELAY + Duration::from_secs(1));
        assert_eq!(faulty(&draft)[1], "delay_ms");
    }

    #[test]
    fn a_time_to_live_and_a_deadline_have_bounds() {
        let fields = |due, ttl_ms, deadline_ms| {
            let mut draft = draft();
            draft.options = JobOptions { due, ttl_ms, deadline_ms, ..draft.options };
            faulty(&draft)
        };
        let year = MAX_DELAY.as_millis() as u64;
        let none = Vec::<String>::new();
        assert_eq!(fields(Due::Now, Some(1), Some(1)), none);
        assert_eq!(fields(Due::Now, Some(year), Some(year)), none);
        assert_eq!(fields(Due::Now, Some(0), Some(0)), ["ttl_ms", "deadline_ms"]);
        assert_eq!(fields(Due::Now, Some(year + 1), Some(year + 1)), ["ttl_ms", "deadline_ms"]);
        let later = Due::After(Duration::from_secs(5));
        assert_eq!(fields(later, Some(1), Some(5001)), none);
        assert_eq!(fields(later, None, Some(5000)), ["deadline_ms"]);
    }

    #[test]
    fn a_job_is_due_at_a_whole_microsecond() {
        let due = Due::After(Duration::from_nanos(1_999)).time(NOW);
        assert_eq!(due, after(NOW, Duration::from_micros(1)));
        assert_eq!(Due::Now.time(NOW), NOW);
    }
}
