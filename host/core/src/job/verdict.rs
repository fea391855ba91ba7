//! The decision about a job at the end of an attempt.

use crate::clock::Timestamp;

/// The decision about a job at the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeded.
    Complete,
    /// It failed; try again at that time.
    Retry {
        /// Not before this.
        at: Timestamp,
    },
    /// It asked to be tried again later: the attempt does not count as a failure.
    Snooze {
        /// Not before this.
        at: Timestamp,
    },
    /// It failed for good.
    Discard,
    /// It was cancelled.
    Cancel,
    /// Give it back; the attempt does not count.
    Release {
        /// Not before this.
        at: Timestamp,
        /// Whether the host refused it, which may happen [`MAX_REFUSED`](crate::retry::MAX_REFUSED) times.
        refused: bool,
    },
}
