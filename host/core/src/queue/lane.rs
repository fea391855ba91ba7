//! A lane: the due jobs of one queue of a tenant, in the order in which they begin.

use std::collections::BTreeMap;

use super::reserve::Share;
use crate::clock::Timestamp;
use crate::job::id::JobId;

/// A job's place in the order: its sort key, then its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// When the job is due, later by the head start of higher priorities.
    pub(super) sort_key: Timestamp,
    /// The order of arrival.
    pub(super) arrival: u64,
}

/// A job that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) id: JobId,
    pub(super) memory_bytes: u64,
}

/// A place among the lanes of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// Attempts in flight.
    pub(super) running: usize,
    /// The turn in which the lane was served last.
    pub(super) served: u64,
    /// The place of its first job.
    pub(super) place: Place,
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) share: Share,
    pub(super) served: u64,
    pub(super) is_held: bool,
    pub(super) due: BTreeMap<Place, Due>,
    pub(super) suspects: usize,
}

impl Lane {
    /// The place of one of its jobs among the lanes.
    pub(super) fn turn_of(&self, place: Place) -> Turn {
        Turn { running: self.share.held.attempts, served: self.served, place }
    }

    pub(super) fn turn(&self) -> Option<Turn> {
        let first = self.due.keys().next().filter(|_| !self.is_held);
        first.map(|place| self.turn_of(*place))
    }

    /// Jobs that wait for nothing but room.
    pub(super) fn waiting(&self) -> usize {
        if self.is_held { 0 } else { self.due.len() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.suspects == 0 && self.share.held.attempts == 0
    }
}
