//! The bounds on the time of a job: its time to live, and its deadline.

use serde::Serialize;

use super::lifecycle::Lifecycle;
use super::state::JobState;
use crate::clock::{Timestamp, after, until};

/// A bound on the time of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeBound {
    /// The time to live: its first attempt did not begin in time.
    Ttl,
    /// The deadline: it was not finalized in time.
    Deadline,
}

impl Lifecycle {
    /// When a waiting job [expires](Self::expire), if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        // The time to live of a job that waits for the wall clock has not begun.
        let start_by = self.start_by.filter(|_| self.attempt == 0 && !self.on_wall);
        start_by.into_iter().chain(self.end_by).min().filter(|_| self.state.is_waiting())
    }

    /// Ends a waiting job whose time is over: it has expired if it was never tried, and failed otherwise.
    pub fn expire(&mut self, now: Timestamp) {
        debug_assert!(self.expires_at().is_some_and(|at| at <= now), "its time is not over");
        if self.attempt == 0 {
            return self.finalize(JobState::Expired, now);
        }
        // As if its next attempt would begin now, see `ended_by`.
        self.scheduled_at = self.scheduled_at.max(now);
        self.finalize(JobState::Discarded, now);
    }

    /// Which bound on its time ended a finalized job, if one did.
    #[must_use]
    pub fn ended_by(&self) -> Option<TimeBound> {
        let over = |bound: Option<Timestamp>, at| bound.is_some_and(|end| end <= at);
        let finalized_at = self.finalized_at?;
        match self.state {
            JobState::Expired if over(self.start_by, finalized_at) && !self.on_wall => {
                Some(TimeBound::Ttl)
            }
            JobState::Expired => Some(TimeBound::Deadline),
            // Its next attempt would have begun too late. If anything else discards a job, this is the time of
            // its latest attempt.
            JobState::Discarded => {
                over(self.end_by, self.scheduled_at).then_some(TimeBound::Deadline)
            }
            JobState::Available | JobState::Running | JobState::Completed | JobState::Cancelled => {
                None
            }
        }
    }

    /// Waits for the next attempt, unless the deadline is before it.
    pub(super) fn try_again(&mut self, at: Timestamp, now: Timestamp) {
        self.wait_until(at);
        if self.end_by.is_some_and(|end| end <= at) {
            self.finalize(JobState::Discarded, now);
        }
    }

    /// Lets the time to live begin at `due` instead of `scheduled_at`.
    pub(super) fn live_from(&mut self, due: Timestamp) {
        let untried = self.start_by.filter(|_| self.attempt == 0);
        let Some(end) = untried else { return };
        self.start_by = Some(after(due, until(self.scheduled_at, end)));
    }
}
