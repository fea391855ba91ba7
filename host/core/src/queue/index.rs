//! The index of a queue: every unfinished job, in each order in which it is looked for.
//!
//! Every change takes an entry out of all orders and puts it back where it belongs by then, so no order
//! can be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::counts::Load;
use super::entry::{Entry, Home, Slot, Standing};
use super::hosts::Hosts;
use super::lanes::Lanes;
use super::name::QueueName;
use super::sweep::{Sweep, covers_code};
use super::waiting::{Clocks, Wait, Waiting};
use crate::capacity::side::Side;
use crate::clock::Timestamp;
use crate::hold::{Hold, JobLabels};
use crate::job::id::JobId;
use crate::job::lifecycle::Lifecycle;
use crate::tenant::TenantName;

/// The unfinished jobs of a store, ordered for claiming.
#[derive(Debug, Default)]
pub struct Queue {
    /// By id, which is by age: operations on some jobs take the oldest.
    pub(super) slots: BTreeMap<JobId, Slot>,
    pub(super) loads: BTreeMap<(TenantName, QueueName), Load>,
    pub(super) holds: BTreeSet<Hold>,
    /// Whether there are holds on plugins or code, under which jobs are set aside.
    pub(super) holds_code: bool,
    /// Holds that came or went, with jobs that are still to be moved.
    pub(super) sweeps: Vec<Sweep>,
    /// Waiting jobs that are due and not set aside.
    pub(super) lanes: Lanes,
    /// Waiting jobs that are not due.
    pub(super) future: Waiting,
    /// Waiting jobs that have a time to live or a deadline, by its end.
    pub(super) ends: BTreeSet<(Timestamp, JobId)>,
    /// Jobs that became due by the wall clock since a store last asked.
    pub(super) fallen_due: Vec<JobId>,
    /// Running jobs, by the end of their leases.
    pub(super) running: BTreeSet<(Timestamp, JobId)>,
    pub(super) hosts: Hosts,
    pub(super) clocks: Clocks,
    pub(super) head_start: Duration,
    /// How many attempts were finished, which is the number of the latest.
    pub(super) finished: u64,
}

impl Queue {
    /// An empty queue of a host that starts, in which each level of priority is worth `head_start`.
    #[must_use]
    pub fn new(head_start: Duration, now: Timestamp) -> Self {
        Self { head_start, clocks: Clocks::new(now), ..Self::default() }
    }

    /// Adds a waiting job, behind those with lower row numbers.
    pub fn insert(&mut self, id: JobId, entry: Entry, now: Timestamp) {
        self.pass_time(now);
        self.restore(id, entry, now);
    }

    /// Adds an unfinished job that a store found when it was opened. If it is running, its lease holds until
    /// `expires_at`.
    pub fn restore(&mut self, id: JobId, entry: Entry, expires_at: Timestamp) {
        self.place(id, Slot { entry, expires_at });
    }

    /// Moves the jobs that are due at `now` from the one bound of their queue to the other.
    pub fn pass_time(&mut self, now: Timestamp) {
        self.look(self.clocks.at(now));
    }

    /// As [`Self::pass_time`], by both clocks: the wall clock reads `wall`.
    pub fn read_clocks(&mut self, now: Timestamp, wall: Timestamp) {
        self.look(self.clocks.read(now, wall));
    }

    /// How many unfinished jobs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no unfinished job.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The lifecycle of an unfinished job.
    #[must_use]
    pub fn lifecycle(&self, id: JobId) -> Option<&Lifecycle> {
        self.slots.get(&id).map(|slot| &slot.entry.lifecycle)
    }

    /// The standing of an unfinished job.
    #[must_use]
    pub fn standing(&self, id: JobId) -> Option<Standing> {
        self.slots.get(&id).map(|slot| slot.entry.standing())
    }

    /// The unfinished jobs, oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<JobId> {
        self.slots.keys().copied().collect()
    }

    /// Applies a transition to an entry; returns its result, and the new standing of the job.
    pub(super) fn transition<A>(
        &mut self,
        id: JobId,
        now: Timestamp,
        step: impl FnOnce(&mut Lifecycle) -> A,
    ) -> Option<(A, Standing)> {
        self.look(self.clocks.at(now));
        self.change(id, |slot| (step(&mut slot.entry.lifecycle), slot.entry.standing()))
    }

    /// Changes an entry. A finalized one is removed, and its permit with it.
    pub(super) fn change<A>(&mut self, id: JobId, step: impl FnOnce(&mut Slot) -> A) -> Option<A> {
        let mut slot = self.take(id)?;
        let answer = step(&mut slot);
        match slot.home() {
            Some(_) => {
                let labels = slot.entry.labels().clone();
                self.place(id, slot);
                self.lanes.forget_empty(&labels);
            }
            None => self.forget_empty(slot.entry.labels()),
        }
        Some(answer)
    }

    /// Puts an entry where it belongs by now.
    pub(super) fn replace(&mut self, id: JobId) {
        self.change(id, |_| ());
    }

    /// Moves the jobs that became due into their lanes.
    pub(super) fn look(&mut self, clocks: Clocks) {
        let before = std::mem::replace(&mut self.clocks, clocks);
        while let Some(wait) = self.future.first_due(clocks) {
            let Wait { id, on_wall, .. } = wait;
            let late = clocks.late(&wait, before);
            self.change(id, |slot| slot.entry.lifecycle.falls_due(clocks.now, late));
            if on_wall {
                self.fallen_due.push(id);
            }
        }
    }

    /// Puts an unfinished job where it belongs.
    pub(super) fn place(&mut self, id: JobId, mut slot: Slot) {
        match slot.home() {
            Some(Home::Waiting) => self.place_waiting(id, &mut slot),
            Some(Home::Running) => self.place_running(id, &mut slot),
            None => return debug_assert!(false, "a finalized job is not in the queue"),
        }
        self.slots.insert(id, slot);
    }

    fn place_running(&mut self, id: JobId, slot: &mut Slot) {
        slot.entry.permit.shift(Side::Due);
        self.load(slot.entry.labels()).running += 1;
        self.running.insert((slot.expires_at, id));
        self.hosts.begin(slot.host(), id, slot.entry.lifecycle.is_suspect());
        self.lanes.begin(slot.entry.labels(), slot.host(), slot.entry.memory_bytes);
    }

    fn place_waiting(&mut self, id: JobId, slot: &mut Slot) {
        let wait = slot.wait(id);
        let is_due = self.clocks.have_reached(&wait);
        slot.entry.permit.shift(if is_due { Side::Due } else { Side::Parked });
        self.load(slot.entry.labels()).add(wait, is_due);
        self.ends.extend(slot.entry.lifecycle.expires_at().map(|end| (end, id)));
        let (labels, place, due) = (slot.entry.labels(), slot.place(self.head_start), slot.due(id));
        if !is_due {
            self.future.insert(wait);
        } else if self.is_set_aside(labels) {
            // In no lane until a sweep, or another change, places it again.
        } else {
            self.lanes.insert(labels, place, due);
        }
    }

    /// Takes a job out of every order.
    fn take(&mut self, id: JobId) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        match slot.home()? {
            Home::Running => {
                self.load(slot.entry.labels()).running -= 1;
                self.running.remove(&(slot.expires_at, id));
                self.hosts.end(slot.host(), id);
                self.lanes.end(slot.entry.labels(), slot.host(), slot.entry.memory_bytes);
            }
            Home::Waiting => {
                let wait = slot.wait(id);
                self.load(slot.entry.labels()).remove(&wait);
                self.future.remove(&wait);
                if let Some(end) = slot.entry.lifecycle.expires_at() {
                    self.ends.remove(&(end, id));
                }
                self.lanes.remove(slot.entry.labels(), &slot.place(self.head_start));
            }
        }
        Some(slot)
    }

    fn load(&mut self, labels: &JobLabels) -> &mut Load {
        self.loads.entry((labels.tenant.clone(), labels.queue.clone())).or_default()
    }

    fn forget_empty(&mut self, labels: &JobLabels) {
        self.lanes.forget_empty(labels);
        let key = (labels.tenant.clone(), labels.queue.clone());
        if self.loads.get(&key).is_some_and(Load::is_empty) {
            self.loads.remove(&key);
        }
    }

    /// Whether a hold covers jobs with these labels that lets the others of their lane be claimed.
    pub(super) fn is_set_aside(&self, labels: &JobLabels) -> bool {
        let holds = |hold: &Hold| covers_code(hold) && hold.is_in(&self.holds);
        self.holds_code && Hold::over(labels).iter().any(holds)
    }
}
