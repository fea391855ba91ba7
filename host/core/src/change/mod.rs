//! Committed changes: what a store publishes after each commit.
//!
//! A store publishes one [`Change`] for every transition of a job and for every change of a hold or of a
//! tenant's limits, in the order of the commits. Waiters, the worker's wake-ups and the stopping of
//! attempts are subscribers; no code infers events from the arguments of a call.

mod stream;
mod token;

use crate::clock::Timestamp;
use crate::hold::{Facts, Hold};
use crate::job::JobId;
use crate::job::JobState;
use crate::outcome::AttemptError;
use crate::tenant::TenantName;

pub use self::stream::{ChangeStream, Listener, RING};
pub use self::token::{InvalidToken, ResumeToken};

/// How many bits of a [`Position`] count the changes of one writer: a writer that commits 100,000 changes
/// a second fills them in 127 days, and then takes the number of the next writer.
const COUNT_BITS: u32 = 40;

/// The place of a change among all changes of a store.
///
/// It counts per writer, which is one incarnation of one host; each start of an embedded store is a new
/// writer with a higher number, so positions only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// The position before the first change of the `writer` with this number.
    #[must_use]
    pub const fn start_of(writer: u32) -> Self {
        Self((writer as u64) << COUNT_BITS)
    }

    /// The position as one number, which grows with it; at most `i64::MAX` for the first 8 million writers.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The position with this [number](Self::number).
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The writer that made the change.
    #[must_use]
    pub const fn writer(self) -> u32 {
        (self.0 >> COUNT_BITS) as u32
    }

    /// The next position.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A change that is committed.
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
    /// Claims pass by what the hold covers (`true`), or not any more.
    Hold(Hold, bool),
    /// A tenant's limits.
    Tenant(TenantName),
}

/// A transition of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEvent {
    /// The job.
    pub job: JobId,
    /// Its tenant, queue and plugin.
    pub facts: Facts,
    /// The number of its latest attempt, 0 before the first.
    pub attempt: u32,
    /// What became of it.
    pub transition: Transition,
}

/// What became of a job.
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
    /// It is over for good.
    Finalized {
        /// In which state.
        state: JobState,
        /// What went wrong in the attempt that ended with it.
        error: Option<AttemptError>,
    },
}
