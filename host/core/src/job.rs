//! A job: what was asked for (fixed at enqueue) and where it stands (its [`Lifecycle`]).

mod id;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::id::{InvalidJobId, JobId, JobIdPrefix};
use crate::attempt::AttemptRecord;
use crate::capacity::Side;
use crate::clock::Timestamp;
use crate::exit_codes::ExitCodes;
use crate::grant::Grants;
use crate::lifecycle::{JobState, Lifecycle};
use crate::limits::Limits;
use crate::name::name_type;
use crate::outcome::AttemptError;
use crate::plugin::{Digest, PluginName, Version};
use crate::report::Progress;
use crate::retry::RetryPolicy;
use crate::tenant::TenantName;

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

/// How urgent a job is, from 1 to 4: each level above 4 is a head start, see
/// [`Queue`](crate::queue::Queue). The default is 2.
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

/// How far ahead a job may be scheduled, and the longest wait that a guest may ask for.
pub const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

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
    /// Whether that was allowed by nothing but a grant of the plugin, so that it ends when the grant is
    /// withdrawn: administrators may ask for it without one. False of jobs of earlier versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deterministic_by_grant: bool,
    /// The media type of the output, if the plugin's settings fix one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_type: Option<String>,
    /// Whether the guest's environment has the host's variables, `JOBWRIGHT_…`.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub inject_env: bool,
    /// What the guest's exit codes mean, where that is not the usual.
    #[serde(default, skip_serializing_if = "ExitCodes::is_empty")]
    pub exit_codes: ExitCodes,
}

fn yes() -> bool {
    true
}

impl JobSpec {
    /// Whether the clock and random bytes are no longer the same at every attempt, under the `grants` that
    /// the plugin has now.
    #[must_use]
    pub fn is_determinism_withdrawn(&self, grants: &Grants) -> bool {
        self.deterministic && self.deterministic_by_grant && grants.deterministic.is_never()
    }

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

/// What a job read from a store says of its output without carrying it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The media type.
    pub content_type: String,
    /// The length in bytes.
    pub bytes: u64,
    /// The number of the attempt that left it: the one that succeeded, or of a job that has not completed
    /// one that failed.
    pub attempt: u32,
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
    /// Of the output, when it has completed; before that, of what a failed attempt left.
    pub output: Option<Stored>,
    /// What its latest attempt told last of how far it is.
    pub progress: Option<Progress>,
}

/// Which attempt at a job runs, or was the latest, and how many there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Its number. It counts every attempt, also those that do not count as failures, and those before
    /// the job was redriven.
    pub attempt: u32,
    /// How many have failed so far, of those that count.
    pub failures: u16,
    /// How many more attempts can begin if this one and all that follow fail.
    pub left: u16,
    /// The number of the last of them.
    pub last_attempt: u32,
}

impl Job {
    /// Whether it is over, with success.
    #[must_use]
    pub fn has_completed(&self) -> bool {
        self.lifecycle.state == JobState::Completed
    }

    /// See [`Tries`].
    #[must_use]
    pub fn tries(&self) -> Tries {
        let Lifecycle { attempt, failures, .. } = self.lifecycle;
        let left = self.lifecycle.attempts_left(self.spec.max_attempts);
        Tries { attempt, failures, left, last_attempt: attempt.saturating_add(left.into()) }
    }

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
/// attempts that were interrupted or snoozed.
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
    /// Whether `scheduled_at` is a time of the wall clock, which a client gave and which is still to
    /// come. Otherwise it is one of the host's clock: the end of a span that the host measures, which
    /// a correction of the wall clock neither shortens nor extends.
    pub on_wall: bool,
    /// Makes the enqueue answer a repeated request like the first.
    pub idempotency: Option<Idempotency>,
}

impl NewJob {
    /// When it is due, if it is accepted at `now`.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Timestamp {
        if self.on_wall { self.scheduled_at } else { self.scheduled_at.max(now) }
    }

    /// Where it stands when it is accepted at `now`.
    #[must_use]
    pub fn lifecycle(&self, now: Timestamp) -> Lifecycle {
        Lifecycle { on_wall: self.on_wall, ..Lifecycle::new(self.due_at(now)) }
    }

    /// Which bound of its queue it counts against, if it is accepted at `now`.
    #[must_use]
    pub fn side(&self, now: Timestamp) -> Side {
        if self.on_wall { Side::Parked } else { Side::of(self.scheduled_at, now) }
    }

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
