//! The states of a job, and the phases in which clients see them.

use serde::{Deserialize, Serialize};

/// The stored state.
///
/// *Scheduled* and *retryable* are not stored: they are `Available` with a future `scheduled_at`, see
/// [`Lifecycle::phase`](super::lifecycle::Lifecycle::phase), so no row changes when the time comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits to be claimed.
    Available,
    /// An attempt holds a lease on it.
    Running,
    /// Finalized: it succeeded.
    Completed,
    /// Finalized: it failed for good.
    Discarded,
    /// Finalized: it was cancelled.
    Cancelled,
    /// Finalized: it was not started in time.
    Expired,
}

impl JobState {
    /// Whether the job is finalized.
    #[must_use]
    pub fn is_finalized(self) -> bool {
        match self {
            Self::Available | Self::Running => false,
            Self::Completed | Self::Discarded | Self::Cancelled | Self::Expired => true,
        }
    }
}

/// The state as clients see it: `state` in HTTP responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not due yet, and never tried or snoozed.
    Scheduled,
    /// Due.
    Available,
    /// Not due yet, after an attempt that failed or was released.
    Retryable,
    /// An attempt holds a lease on it.
    Running,
    /// Succeeded.
    Completed,
    /// Failed for good.
    Discarded,
    /// Cancelled.
    Cancelled,
    /// Not started in time.
    Expired,
}

impl Phase {
    /// Whether the job is finalized.
    #[must_use]
    pub fn is_finalized(self) -> bool {
        match self {
            Self::Scheduled | Self::Available | Self::Retryable | Self::Running => false,
            Self::Completed | Self::Discarded | Self::Cancelled | Self::Expired => true,
        }
    }
}
