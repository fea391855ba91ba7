//! What claims pass by. A queue or a tenant that is held keeps its jobs in their lanes, which have no
//! turn. Other holds cover jobs of any lane: those are set aside, some at a time, as each step is a
//! command of the store for which all others wait.

use std::ops::Bound;

use super::Queue;
use crate::hold::{Facts, Hold};
use crate::job::JobId;

/// How many jobs one step looks at, and moves at most: some hundred microseconds.
const SWEPT: usize = 500;

/// What is left to be looked at for a hold that came or went.
#[derive(Debug)]
pub(super) struct Sweep {
    hold: Hold,
    /// The job that was looked at last.
    after: Option<JobId>,
}

impl Queue {
    /// Makes claims pass by what `hold` covers, or not any more: at once if it covers a queue or a
    /// tenant, and else as [`Self::sweep`] gets on.
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
            _ => {
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
            .map(|(id, slot)| (*id, !slot.is_running() && hold.covers(&slot.entry.facts)))
            .collect();
        for (id, _) in looked.iter().filter(|(_, covered)| *covered) {
            self.replace(*id);
        }
        if looked.len() == SWEPT {
            self.sweeps.push(Sweep { hold, after: looked.last().map(|(id, _)| *id) });
        }
    }

    /// Whether a hold covers jobs with these facts that lets the others of their lane be claimed.
    pub(super) fn is_set_aside(&self, facts: &Facts) -> bool {
        let holds = |hold: &Hold| covers_code(hold) && hold.is_in(&self.holds);
        self.holds_code && Hold::over(facts).iter().any(holds)
    }

    /// What claims pass by, in no order.
    #[must_use]
    pub fn held(&self) -> Vec<Hold> {
        self.holds.iter().cloned().collect()
    }

    /// The oldest unfinished jobs that `hold` covers and that nobody asked to cancel, at most `most`.
    #[must_use]
    pub fn covered(&self, hold: &Hold, most: usize) -> Vec<JobId> {
        let covered = self.slots.iter().filter(|(_, slot)| {
            slot.entry.lifecycle.cancel_requested_at.is_none() && hold.covers(&slot.entry.facts)
        });
        covered.map(|(id, _)| *id).take(most).collect()
    }
}

/// Whether a hold is on plugins or code, and not on a queue or a tenant.
fn covers_code(hold: &Hold) -> bool {
    !matches!(hold.of_any(), Hold::Queue { .. } | Hold::Tenant(_))
}
