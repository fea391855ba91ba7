//! A job as a store keeps it: its specification, its [`Lifecycle`] and the records of its attempts.

use std::sync::Arc;

use super::id::JobId;
use super::lifecycle::Lifecycle;
use super::payload::OutputInfo;
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
    /// Its specification.
    pub spec: Arc<JobSpec>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Its state.
    pub lifecycle: Lifecycle,
    /// The attempts that have ended, oldest first; at most [`MAX_RECORDS`], the latest kept.
    pub attempts: Vec<AttemptRecord>,
    /// The description of the output, once it has completed; before that, of the output of a failed attempt.
    pub output: Option<OutputInfo>,
    /// The latest progress of its latest attempt.
    pub progress: Option<Progress>,
}

/// The running or latest attempt of a job, and how many there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptCounts {
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
    /// Whether it completed.
    #[must_use]
    pub fn has_completed(&self) -> bool {
        self.lifecycle.state == JobState::Completed
    }

    /// See [`AttemptCounts`].
    #[must_use]
    pub fn attempt_counts(&self) -> AttemptCounts {
        let Lifecycle { attempt, failures, .. } = self.lifecycle;
        let left = self.lifecycle.attempts_left(self.spec.max_attempts);
        AttemptCounts { attempt, failures, left, last_attempt: attempt.saturating_add(left.into()) }
    }

    /// Its approximate size as text, in bytes: its specification and the records of its attempts.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        let error_bytes = |error: &AttemptError| {
            error.message.len() + error.backtrace.as_ref().map_or(0, String::len)
        };
        let record = |record: &AttemptRecord| {
            RECORD_BYTES + record.error.as_ref().map_or(0, error_bytes) as u64
        };
        RECORD_BYTES + self.spec.held_bytes(0) + self.attempts.iter().map(record).sum::<u64>()
    }
}

/// The approximate size of an attempt's record as text without its error, and of a job without its strings,
/// in bytes.
const RECORD_BYTES: u64 = 512;

/// How many ended attempts a job remembers: 25 counted, 3 lost and 10 refused, and some more for
/// attempts that were interrupted or snoozed.
pub const MAX_RECORDS: usize = 50;
