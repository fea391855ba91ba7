//! Suspects: jobs with a lost attempt that counts, any of which may be what took its host down.
//!
//! A host tries them one at a time, together with other jobs, and one that the next loss discards alone: a host
//! that was killed with all its slots in use must not try them one by one before anything else.
//!
//! Only the attempts of the host that claims are looked at. Those of other hosts do not die with it, so they
//! leave no doubt about which job took it down, and need not wait.

use std::time::Duration;

use super::due::{Due, Trust};
use crate::clock::{Timestamp, until};
use crate::job::lifecycle::Lifecycle;

/// How long other jobs may start before a job that must run alone; after that they wait for it. Long enough
/// that a host which is not always busy is idle for a moment.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The effect of the suspects that run on a host on other jobs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum InFlight {
    /// No suspect is running.
    #[default]
    Trusted,
    /// Some, all of which have run for long: jobs that must run alone are kept back.
    Suspects,
    /// One is watched: other suspects are kept back.
    Watched,
    /// One is watched that must run alone: all jobs are kept back.
    WatchedAlone,
}

impl InFlight {
    /// The effect of these running suspects.
    pub fn of<'a>(suspects: impl Iterator<Item = &'a Lifecycle>, now: Timestamp) -> Self {
        let keeps_back = suspects.map(|job| match (job.is_watched(now), job.runs_alone()) {
            (false, _) => Self::Suspects,
            (true, false) => Self::Watched,
            (true, true) => Self::WatchedAlone,
        });
        keeps_back.max().unwrap_or_default()
    }

    /// Whether a job may start, or makes others wait for it, on a host that is idle or is not.
    #[must_use]
    pub fn admits(self, due: &Due, idle: bool, now: Timestamp) -> bool {
        match (self, due.trust) {
            (Self::WatchedAlone, _) | (Self::Watched, Trust::Suspect | Trust::Alone) => false,
            (_, Trust::Trusted) | (Self::Trusted | Self::Suspects, Trust::Suspect) => true,
            (Self::Suspects, Trust::Alone) => idle,
            (Self::Trusted, Trust::Alone) => idle || waited(due.since, now) >= PATIENCE,
        }
    }
}

/// How long a job has waited. A time later than the present is one of an earlier process with another clock.
fn waited(since: Timestamp, now: Timestamp) -> Duration {
    if since > now { PATIENCE } else { until(since, now) }
}
