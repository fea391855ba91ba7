//! A job that is due.

use crate::clock::Timestamp;
use crate::job::id::JobId;
use crate::job::lifecycle::Lifecycle;

/// A job that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its id.
    pub id: JobId,
    /// The memory of the host that an attempt may use, in bytes.
    pub memory_bytes: u64,
    /// Since when it is due; for a job that must run alone, also no earlier than its latest attempt.
    pub since: Timestamp,
    /// Whether it may be what took its host down.
    pub trust: Trust,
}

/// Whether a waiting job may be what took its host down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It lost no attempt that counts.
    Trusted,
    /// It is a suspect.
    Suspect,
    /// It is a suspect that must run alone.
    Alone,
}

impl Due {
    /// The waiting job `id` in the state `job`.
    #[must_use]
    pub fn new(id: JobId, job: &Lifecycle, memory_bytes: u64) -> Self {
        let due = job.scheduled_at;
        let (since, trust) = if job.runs_alone() {
            (due.max(job.attempted_at.unwrap_or(due)), Trust::Alone)
        } else if job.is_suspect() {
            (due, Trust::Suspect)
        } else {
            (due, Trust::Trusted)
        };
        Self { id, memory_bytes, since, trust }
    }
}
