//! The two bounds of a queue.

use crate::clock::Timestamp;

/// Which bound of its queue a job counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one on jobs that are due or running.
    Due,
    /// The one on jobs that are scheduled, or wait for a retry.
    Parked,
}

impl Side {
    /// The side of a new job that is due at `scheduled_at`.
    #[must_use]
    pub fn of(scheduled_at: Timestamp, now: Timestamp) -> Self {
        if scheduled_at <= now { Self::Due } else { Self::Parked }
    }
}
