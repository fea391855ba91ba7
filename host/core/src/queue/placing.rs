//! Where each entry is kept. Every change takes an entry out of all indexes and puts it back where it
//! belongs by then, so no index can be forgotten.

use super::Queue;
use super::entry::{Slot, Standing};
use super::waiting::{Clocks, Wait};
use crate::capacity::Side;
use crate::clock::Timestamp;
use crate::hold::Facts;
use crate::job::JobId;
use crate::lifecycle::Lifecycle;

impl Queue {
    /// Applies a transition to an entry; answers what it answers, and where the job stands then.
    pub(super) fn transition<A>(
        &mut self,
        id: JobId,
        now: Timestamp,
        step: impl FnOnce(&mut Lifecycle) -> A,
    ) -> Option<(A, Standing)> {
        self.look(self.clocks.at(now));
        self.change(id, |slot| (step(&mut slot.entry.lifecycle), slot.entry.standing()))
    }

    /// Changes an entry. A finalized one goes, and its permit with it.
    pub(super) fn change<A>(&mut self, id: JobId, step: impl FnOnce(&mut Slot) -> A) -> Option<A> {
        let mut slot = self.unplace(id)?;
        let answer = step(&mut slot);
        if slot.entry.lifecycle.state.is_finalized() {
            self.forget_empty(&slot.entry.facts);
        } else {
            let facts = slot.entry.facts.clone();
            self.place(id, slot);
            self.lanes.forget_empty(&facts);
        }
        Some(answer)
    }

    /// Puts an entry where it belongs by now.
    pub(super) fn replace(&mut self, id: JobId) {
        self.change(id, |_| ());
    }

    /// Moves the jobs whose time has come to where they are claimed from.
    pub(super) fn look(&mut self, clocks: Clocks) {
        self.clocks = clocks;
        while let Some(Wait { id, on_wall, .. }) = self.future.first_due(clocks) {
            self.change(id, |slot| slot.entry.lifecycle.falls_due(clocks.now));
            if on_wall {
                self.fallen_due.push(id);
            }
        }
    }

    pub(super) fn place(&mut self, id: JobId, mut slot: Slot) {
        let (wait, place) = (slot.wait(id), slot.place(self.head_start));
        let is_due = slot.is_running() || self.clocks.have_reached(&wait);
        slot.entry.permit.shift(if is_due { Side::Due } else { Side::Parked });
        let facts = &slot.entry.facts;
        let load = self.loads.entry((facts.tenant.clone(), facts.queue.clone())).or_default();
        let is_suspect = slot.entry.lifecycle.is_suspect();
        if slot.is_running() {
            load.running += 1;
            self.running.insert((slot.holder.expires_at, id));
            self.lanes.begin(facts, slot.entry.memory_bytes);
            if is_suspect {
                self.tried.insert(id);
            }
        } else {
            load.add(wait, is_due);
            if !is_due {
                self.future.insert(wait);
            } else if self.is_set_aside(&slot.entry.facts) {
                // Until a sweep comes, or another change.
            } else if is_suspect {
                self.lanes.insert_suspect(&slot.entry.facts, place, slot.due(id));
            } else {
                self.lanes.insert(&slot.entry.facts, place, slot.due(id));
            }
        }
        self.slots.insert(id, slot);
    }

    fn unplace(&mut self, id: JobId) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        let facts = &slot.entry.facts;
        let load = self.loads.entry((facts.tenant.clone(), facts.queue.clone())).or_default();
        if slot.is_running() {
            load.running -= 1;
            self.running.remove(&(slot.holder.expires_at, id));
            self.lanes.end(facts, slot.entry.memory_bytes);
            self.tried.remove(&id);
        } else {
            let wait = slot.wait(id);
            load.remove(&wait);
            self.future.remove(&wait);
            self.lanes.remove(facts, &slot.place(self.head_start));
        }
        Some(slot)
    }

    fn forget_empty(&mut self, facts: &Facts) {
        self.lanes.forget_empty(facts);
        let key = (facts.tenant.clone(), facts.queue.clone());
        if self.loads.get(&key).is_some_and(super::counts::Load::is_empty) {
            self.loads.remove(&key);
        }
    }
}
