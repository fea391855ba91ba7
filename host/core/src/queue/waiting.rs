//! Jobs that are not due yet, in the order in which they will be.
//!
//! A span that this process measures (a delay, a back-off) ends by the host's clock, which never steps.
//! A time that a client gave, and one to which an earlier process waited, is a time of the wall clock,
//! which may be corrected meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;

use crate::clock::{Timestamp, until};
use crate::job::id::JobId;

/// The readings of both clocks when the queue was last used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    pub(super) now: Timestamp,
    /// The reading of the wall clock, if the latest command brought one: the clock may have been set since
    /// it was last read.
    wall: Option<Timestamp>,
    /// How far the wall clock was ahead of the host's when it was last read.
    ahead: SignedDuration,
}

impl Default for Clocks {
    fn default() -> Self {
        Self::new(Timestamp::MIN)
    }
}

impl Clocks {
    /// Both clocks when the host starts, with the same reading.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, wall: Some(now), ahead: SignedDuration::ZERO }
    }

    /// The clocks of a command at `now`, which may come late: time does not go back.
    pub(super) fn at(self, now: Timestamp) -> Self {
        Self { now: self.now.max(now), wall: None, ..self }
    }

    /// As [`Self::at`], with the reading `wall` of the wall clock.
    pub(super) fn read(self, now: Timestamp, wall: Timestamp) -> Self {
        Self { wall: Some(wall), ahead: wall.duration_since(now), ..self.at(now) }
    }

    /// How far the wall clock was ahead of the host's when it was last read.
    pub(super) fn ahead(self) -> SignedDuration {
        self.ahead
    }

    /// How long ago the time of `wait` came, by the wall clock; but not before the clocks were last read: that
    /// clock may have been set since.
    pub(super) fn late(self, wait: &Wait, before: Self) -> Duration {
        let by_wall = self.wall.map_or(Duration::ZERO, |wall| until(wait.at, wall));
        by_wall.min(until(before.now, self.now))
    }

    /// Whether the time of `wait` is known to have come.
    pub(super) fn have_reached(self, wait: &Wait) -> bool {
        if wait.on_wall {
            self.wall.is_some_and(|wall| wait.at <= wall)
        } else {
            wait.at <= self.now
        }
    }
}

/// A job that waits for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wait {
    pub(super) at: Timestamp,
    pub(super) arrival: u64,
    pub(super) id: JobId,
    /// Whether `at` is a time of the wall clock.
    pub(super) on_wall: bool,
}

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_host: BTreeSet<Wait>,
    by_wall: BTreeSet<Wait>,
}

impl Waiting {
    pub(super) fn insert(&mut self, wait: Wait) {
        self.of(&wait).insert(wait);
    }

    pub(super) fn remove(&mut self, wait: &Wait) {
        self.of(wait).remove(wait);
    }

    /// A job whose time has come.
    pub(super) fn first_due(&self, clocks: Clocks) -> Option<Wait> {
        let due = |set: &BTreeSet<Wait>| set.first().copied().filter(|it| clocks.have_reached(it));
        due(&self.by_host).or_else(|| due(&self.by_wall))
    }

    /// When the next of them is due, by the host's clock.
    pub(super) fn next_due(&self, clocks: Clocks) -> Option<Timestamp> {
        let by_host = self.by_host.first().map(|wait| wait.at);
        let by_wall = self
            .by_wall
            .first()
            .map(|wait| wait.at.checked_sub(clocks.ahead).unwrap_or(Timestamp::MAX));
        by_host.into_iter().chain(by_wall).min()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_host.len() + self.by_wall.len()
    }

    fn of(&mut self, wait: &Wait) -> &mut BTreeSet<Wait> {
        if wait.on_wall { &mut self.by_wall } else { &mut self.by_host }
    }
}
