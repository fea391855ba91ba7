//! What changed.

use std::sync::Arc;

use super::position::Position;
use crate::clock::Timestamp;
use crate::hold::{HoldChange, JobLabels};
use crate::job::JobId;
use crate::job::JobState;
use crate::outcome::AttemptError;
use crate::tenant::TenantName;

/// A committed change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its place in the stream.
    pub position: Position,
    /// The store's time of the change.
    pub at: Timestamp,
    /// What changed.
    pub event: Event,
}

/// What changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A job.
    Job(JobEvent),
    /// A hold. The changes of one hold are published in the order of their versions, by whichever host
    /// they were made.
    Hold(HoldChange),
    /// A tenant's limits.
    Tenant(TenantName),
}

/// A transition of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEvent {
    /// The job.
    pub job: JobId,
    /// Its tenant, queue and plugin.
    pub labels: Arc<JobLabels>,
    /// The number of its latest attempt, 0 before the first.
    pub attempt: u32,
    /// The transition.
    pub transition: Transition,
}

/// A transition of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition {
    /// It was accepted.
    Enqueued,
    /// An attempt began.
    Started,
    /// It waits for an attempt: the one before ended, was lost or given back, or the job was redriven.
    Waiting,
    /// The running attempt is asked to stop.
    CancelRequested,
    /// It was finalized.
    Finalized {
        /// The final state.
        state: JobState,
        /// The error of the attempt that ended with it.
        error: Option<AttemptError>,
    },
}
