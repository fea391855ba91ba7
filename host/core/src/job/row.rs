//! A job as a store keeps it: its specification, its [`Lifecycle`] and the records of its attempts.

use super::id::JobId;
use super::lifecycle::Lifecycle;
use super::payload::Stored;
use super::record::AttemptRecord;
use super::spec::JobSpec;
use super::state::JobState;
use crate::clock::Timestamp;
use crate::outcome::AttemptError;
use crate::report::Progress;

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
