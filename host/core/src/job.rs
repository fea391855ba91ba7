//! A job: what was asked for (fixed at enqueue) and where it stands (its [`Lifecycle`]).

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Mutex;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;
use uuid::timestamp::context::ContextV7;

use crate::attempt::AttemptRecord;
use crate::clock::Timestamp;
use crate::lifecycle::Lifecycle;
use crate::limits::Limits;
use crate::name::{name_type, shorten};
use crate::outcome::AttemptError;
use crate::plugin::{Digest, PluginName, Version};
use crate::report::Progress;
use crate::retry::RetryPolicy;
use crate::tenant::TenantName;

/// The identity of a job: a UUID of version 7 (RFC 9562), so that ids sort by creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

/// Text that is no job id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a job id: use the `id` that enqueueing answered, a UUID")]
pub struct InvalidJobId(String);

impl JobId {
    /// A new id, greater than any that this process made before at the same or an earlier time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        static SEQUENCE: Mutex<ContextV7> = Mutex::new(ContextV7::new());
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(&SEQUENCE, seconds, nanos)))
    }

    /// The 16 bytes, which sort as the ids do.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id of these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only the hyphenated form, so that one job has one URL.
        match (text.len(), Uuid::try_parse(text)) {
            (36, Ok(id)) => Ok(Self(id)),
            _ => Err(InvalidJobId(shorten(text))),
        }
    }
}

name_type! {
    /// The name of a queue.
    QueueName
}

impl Default for QueueName {
    /// The queue of jobs that name none.
    fn default() -> Self {
        Self("default".into())
    }
}

/// How urgent a job is: 1 is claimed first, 4 last. The default is 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

/// A number that is no priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("priority {0} is not one of 1 (first) to 4 (last)")]
pub struct InvalidPriority(u8);

impl Default for Priority {
    fn default() -> Self {
        Self(2)
    }
}

impl TryFrom<u8> for Priority {
    type Error = InvalidPriority;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        if (1..=4).contains(&number) { Ok(Self(number)) } else { Err(InvalidPriority(number)) }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// What was asked for, complete and fixed at enqueue: a later change of the plugin, its settings
/// or the operator's defaults does not reach a job that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Whose it is.
    #[serde(default, skip_serializing_if = "TenantName::is_default")]
    pub tenant: TenantName,
    /// The plugin's name.
    pub plugin: PluginName,
    /// The version that the reference resolved to.
    pub version: Version,
    /// The code itself: every attempt runs these bytes.
    pub digest: Digest,
    /// Where the job waits.
    pub queue: QueueName,
    /// How urgent it is.
    pub priority: Priority,
    /// How often it may fail; 1 to 25. Lost and released attempts are not counted.
    pub max_attempts: u16,
    /// What each attempt may use.
    pub limits: Limits,
    /// Which endings are tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Which export runs, for plugins that may have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// Arguments of the command, after its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables of the command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Labels for people and filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether the guest sees a clock and random bytes that are the same at every attempt.
    #[serde(default)]
    pub deterministic: bool,
    /// The media type of the output, if the plugin's settings fix one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_type: Option<String>,
}

impl JobSpec {
    /// What a submitter makes the host hold until the job is finalized, in bytes: a payload of
    /// `payload_bytes`, with the arguments, variables and tags beside it.
    #[must_use]
    pub fn held_bytes(&self, payload_bytes: u64) -> u64 {
        let variables = self.env.iter().map(|(name, value)| name.len() + value.len());
        let texts = self.args.iter().chain(&self.tags).map(String::len).chain(variables);
        payload_bytes + texts.sum::<usize>() as u64
    }
}

/// Bytes with their media type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// The media type that the submitter gave, `application/json` for a JSON value; none for none.
    pub content_type: Option<String>,
    /// What the guest reads.
    pub bytes: Bytes,
}

/// What a job read from a store says of stored bytes without carrying them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The media type.
    pub content_type: String,
    /// The length in bytes.
    pub bytes: u64,
}

/// A job as a store keeps it, without the bytes of its payload, output and log.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// What was asked for.
    pub spec: JobSpec,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Where it stands.
    pub lifecycle: Lifecycle,
    /// The attempts that have ended, oldest first; at most [`MAX_RECORDS`], the latest kept.
    pub attempts: Vec<AttemptRecord>,
    /// Of the output, when it has completed.
    pub output: Option<Stored>,
    /// What its latest attempt told last of how far it is.
    pub progress: Option<Progress>,
}

impl Job {
    /// About what it takes as text, in bytes: what it was asked for with, and what its attempts said.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        let said = |error: &AttemptError| {
            error.message.len() + error.backtrace.as_ref().map_or(0, String::len)
        };
        let record =
            |record: &AttemptRecord| RECORD_BYTES + record.error.as_ref().map_or(0, said) as u64;
        RECORD_BYTES + self.spec.held_bytes(0) + self.attempts.iter().map(record).sum::<u64>()
    }
}

/// About what an attempt's record takes as text beside its error, and a job beside what it carries.
const RECORD_BYTES: u64 = 512;

/// How many ended attempts a job remembers: 25 counted, 3 lost and 10 refused, and some more for
/// attempts that shutdowns interrupted.
pub const MAX_RECORDS: usize = 50;

/// A job to be enqueued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its identity, made by the caller so that the answer can be written before it is stored.
    pub id: JobId,
    /// What was asked for.
    pub spec: JobSpec,
    /// What the guest reads.
    pub payload: Payload,
    /// When it may first be claimed; not before `now` at enqueue.
    pub scheduled_at: Timestamp,
    /// Makes the enqueue answer a repeated request like the first.
    pub idempotency: Option<Idempotency>,
}

impl NewJob {
    /// See [`JobSpec::held_bytes`].
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.spec.held_bytes(self.payload.bytes.len() as u64)
    }
}

/// Between a tenant and its key: no header carries this character.
const OF: char = '\u{1f}';

/// An `Idempotency-Key` with what a repetition is compared to and answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key, at most 255 bytes, [of a tenant](Self::key_of).
    pub key: String,
    /// A digest of the request: another request under the same key is refused.
    pub fingerprint: Digest,
    /// The body of the first answer.
    pub answer: Bytes,
    /// When the key may be used anew.
    pub expires_at: Timestamp,
}

impl Idempotency {
    /// What is counted for one beside its key and answer: the fingerprint, the job's id, and what a
    /// row takes.
    pub const ROW_BYTES: u64 = 200;

    /// A tenant's key, as it is remembered: those of one tenant are not those of another.
    #[must_use]
    pub fn key_of(tenant: &TenantName, key: &str) -> String {
        if tenant.is_default() { key.to_owned() } else { format!("{tenant}{OF}{key}") }
    }

    /// Whose key it is.
    #[must_use]
    pub fn tenant(&self) -> TenantName {
        let tenant = self.key.split_once(OF).and_then(|(tenant, _)| tenant.parse().ok());
        tenant.unwrap_or_default()
    }

    /// What it takes to remember it, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.key.len() + self.answer.len()) as u64 + Self::ROW_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_creation_even_within_one_instant() {
        let now = "2026-01-02T03:04:05.678901Z".parse().expect("a time");
        let ids: Vec<JobId> = (0..1000).map(|_| JobId::new(now)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn only_the_hyphenated_form_is_a_job_id() {
        let id = JobId::new(Timestamp::UNIX_EPOCH);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "7", "zz", &id.to_string().replace('-', ""), &format!("{{{id}}}")] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }
}
