//! Holds. The lanes of a paused queue or a disabled tenant keep their jobs and are not served. Other holds
//! cover jobs of any lane: these are set aside, some at a time, as each step is a command of the store for
//! which all others wait.

use std::ops::Bound;

use super::entry::Home;
use super::index::Queue;
use super::sweep::{Sweep, covers_code};
use crate::hold::Hold;
use crate::job::id::JobId;

/// How many jobs one step examines, and moves at most: some hundred microseconds.
const SWEPT: usize = 500;

impl Queue {
    /// Sets or releases a hold. It takes effect at once for a queue or a tenant, else as [`Self::sweep`]
    /// proceeds.
    pub fn set_held(&mut self, hold: Hold, held: bool) {
        match held {
            true => drop(self.holds.insert(hold.clone())),
            false => drop(self.holds.remove(&hold)),
        }
        self.holds_code = self.holds.iter().any(covers_code);
        let of_any = hold.of_any();
        let is_held = of_any.is_in(&self.holds);
        match of_any {
            Hold::Queue { tenant, queue } => self.lanes.hold_queue(tenant, queue, is_held),
            Hold::Tenant(tenant) => self.lanes.hold_tenant(tenant, is_held),
            Hold::Plugin { .. } | Hold::Version { .. } | Hold::Digest(_) | Hold::Operator(_) => {
                self.sweeps.retain(|sweep| sweep.hold != hold);
                self.sweeps.push(Sweep { hold, after: None });
                self.sweep();
            }
        }
    }

    /// Whether jobs are left to be moved that a hold covers or covered.
    #[must_use]
    pub fn is_sweeping(&self) -> bool {
        !self.sweeps.is_empty()
    }

    /// Moves some of the jobs that a hold covers, or covered, to where they belong.
    pub fn sweep(&mut self) {
        let Some(Sweep { hold, after }) = self.sweeps.pop() else { return };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let looked = self.slots.range((from, Bound::Unbounded)).take(SWEPT);
        let looked: Vec<_> = looked
            .map(|(id, slot)| {
                (*id, slot.home() == Some(Home::Waiting) && hold.covers(slot.entry.labels()))
            })
            .collect();
        for (id, _) in looked.iter().filter(|(_, covered)| *covered) {
            self.replace(*id);
        }
        if looked.len() == SWEPT {
            self.sweeps.push(Sweep { hold, after: looked.last().map(|(id, _)| *id) });
        }
    }

    /// The holds, in no order.
    #[must_use]
    pub fn holds(&self) -> Vec<Hold> {
        self.holds.iter().cloned().collect()
    }

    /// The oldest unfinished jobs that `hold` covers and whose cancellation was not requested, at most `most`.
    #[must_use]
    pub fn covered(&self, hold: &Hold, most: usize) -> Vec<JobId> {
        let covered = self.slots.iter().filter(|(_, slot)| {
            slot.entry.lifecycle.cancel_requested_at.is_none() && hold.covers(slot.entry.labels())
        });
        covered.map(|(id, _)| *id).take(most).collect()
    }
}
