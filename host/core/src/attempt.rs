//! An attempt at a job: its lease, and what a runtime is given to run it.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::host::HostId;
use crate::job::id::JobId;
use crate::job::payload::Payload;
use crate::job::row::Job;
use crate::limits::effective::Limits;
use crate::log::LogBuffer;
use crate::report::ProgressReporter;
use crate::services::granted::Capabilities;

pub use crate::job::record::{AttemptRecord, Seed, Start};

/// The exclusive right of a host to try a job until `expires_at`. The attempt number fences: a host whose
/// lease was taken away cannot finish, because the job has a higher attempt by then or none running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The host that holds the lease.
    pub host: HostId,
    /// Until when the lease holds, unless renewed.
    pub expires_at: Timestamp,
}

/// An attempt, as the runtime gets it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The job as it was claimed.
    pub job: Job,
    /// The limits of the job, under the present ceilings.
    pub limits: Limits,
    /// The input of the guest.
    pub payload: Payload,
    /// Receives its log.
    pub log: Arc<LogBuffer>,
    /// Receives its progress and checkpoints.
    pub report: Arc<ProgressReporter>,
    /// Its capabilities.
    pub granted: Capabilities,
    /// The start of its clocks and random numbers.
    pub start: Start,
}

impl Attempt {
    /// Whether the guest sees a clock and random bytes that are the same at every attempt.
    #[must_use]
    pub fn is_deterministic(&self) -> bool {
        self.job.spec.deterministic && !self.start.determinism_withdrawn
    }
}
