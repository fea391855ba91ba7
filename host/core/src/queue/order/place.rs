//! The order of the jobs of one lane.

use std::time::Duration;

use crate::clock::{Timestamp, after};
use crate::job::priority::Priority;

/// A job's place in its lane: its sort key, then its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the job is due, later by the head start of higher priorities: so a job of a low priority is
    /// overtaken for that long, and does not starve.
    pub sort_key: Timestamp,
    /// The order of arrival.
    pub arrival: u64,
}

impl Place {
    /// The place of a job that is due at `due`, where each level of priority is worth `head_start`.
    #[must_use]
    pub fn new(due: Timestamp, priority: Priority, head_start: Duration, arrival: u64) -> Self {
        let levels = u32::from(u8::from(priority)) - 1;
        Self { sort_key: after(due, head_start.saturating_mul(levels)), arrival }
    }
}
