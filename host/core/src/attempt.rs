//! An attempt at a job: its lease, and what a runtime is given to run it.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::job::id::JobId;
use crate::job::payload::Payload;
use crate::job::row::Job;
use crate::limits::effective::Limits;
use crate::log::LogBuffer;
use crate::report::Report;
use crate::services::granted::Capabilities;

pub use crate::job::record::{AttemptRecord, Seed, Start};

/// The exclusive right to try a job until `expires_at`. The attempt number fences: a holder whose
/// lease was taken away cannot finish, because the job has a higher attempt by then or none running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// Until when the lease holds, unless renewed.
    pub expires_at: Timestamp,
}

/// What the runtime is given to run.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The job as it was claimed.
    pub job: Job,
    /// What this attempt may use: the job's limits under today's ceilings.
    pub limits: Limits,
    /// What the guest reads.
    pub payload: Payload,
    /// Where its log goes while it runs.
    pub log: Arc<LogBuffer>,
    /// Where it tells its progress and keeps its checkpoint.
    pub report: Arc<Report>,
    /// What it reaches outside of its sandbox.
    pub granted: Capabilities,
    /// Where its clocks and random numbers begin.
    pub start: Start,
}

impl Attempt {
    /// Whether the guest sees a clock and random bytes that are the same at every attempt.
    #[must_use]
    pub fn is_deterministic(&self) -> bool {
        self.job.spec.deterministic && !self.start.determinism_withdrawn
    }
}
