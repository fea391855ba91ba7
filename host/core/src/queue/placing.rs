//! Where each entry is kept. Every change takes an entry out of all indexes and puts it back where it
//! belongs by then, so no index can be forgotten.

use super::Queue;
use super::entry::Slot;
use super::waiting::Clocks;
use crate::capacity::Side;
use crate::clock::Timestamp;
use crate::hold::{Facts, Hold};
use crate::job::JobId;
use crate::lifecycle::Lifecycle;

impl Queue {
    /// Makes claims pass by what `hold` covers, or not any more.
    pub fn set_held(&mut self, hold: Hold, held: bool) {
        let covered = |slot: &Slot| !slot.is_running() && hold.covers(&slot.entry.facts);
        let covered: Vec<JobId> =
            self.slots.iter().filter(|(_, slot)| covered(slot)).map(|(id, _)| *id).collect();
        // Each is taken out of where it was kept under the old holds.
        let slots: Vec<_> =
            covered.into_iter().filter_map(|id| Some((id, self.unplace(id)?))).collect();
        if held {
            self.holds.insert(hold);
        } else {
            self.holds.remove(&hold);
        }
        for (id, slot) in slots {
            self.place(id, slot);
        }
    }

    pub(super) fn is_held(&self, facts: &Facts) -> bool {
        !self.holds.is_empty() && Hold::over(facts).iter().any(|hold| hold.is_in(&self.holds))
    }

    /// Applies a transition to an entry; answers what it answers, and where the job stands then.
    pub(super) fn transition<A>(
        &mut self,
        id: JobId,
        now: Timestamp,
        step: impl FnOnce(&mut Lifecycle) -> A,
    ) -> Option<(A, Lifecycle)> {
        self.look(self.clocks.at(now));
        self.change(id, |slot| {
            // Times that this process chooses are those of the host's clock.
            slot.entry.on_wall = false;
            (step(&mut slot.entry.lifecycle), slot.entry.lifecycle.clone())
        })
    }

    /// Changes an entry. A finalized one goes, and its permit with it.
    pub(super) fn change<A>(&mut self, id: JobId, step: impl FnOnce(&mut Slot) -> A) -> Option<A> {
        let mut slot = self.unplace(id)?;
        let answer = step(&mut slot);
        if slot.entry.lifecycle.state.is_finalized() {
            self.forget_empty(slot.entry.facts);
        } else {
            self.place(id, slot);
        }
        Some(answer)
    }

    /// Moves the jobs whose time has come to where they are claimed from.
    pub(super) fn look(&mut self, clocks: Clocks) {
        self.clocks = clocks;
        while let Some(id) = self.future.pop(clocks).or_else(|| self.held_future.pop(clocks)) {
            self.change(id, |slot| {
                // It is due from now on, wherever the wall clock is set.
                let at = &mut slot.entry.lifecycle.scheduled_at;
                (*at, slot.entry.on_wall) = ((*at).min(clocks.now), false);
            });
        }
    }

    pub(super) fn place(&mut self, id: JobId, mut slot: Slot) {
        let held = self.is_held(&slot.entry.facts);
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
            load.waiting.insert(wait);
            match (is_due, held) {
                (true, true) => {}
                (false, true) => self.held_future.insert(wait),
                (false, false) => self.future.insert(wait),
                (true, false) if is_suspect => {
                    self.lanes.insert_suspect(facts, place, slot.due(id))
                }
                (true, false) => self.lanes.insert(facts, place, slot.due(id)),
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
            load.waiting.remove(&wait);
            self.future.remove(&wait);
            self.held_future.remove(&wait);
            self.lanes.remove(facts, &slot.place(self.head_start));
        }
        Some(slot)
    }

    fn forget_empty(&mut self, facts: Facts) {
        self.lanes.forget_empty(&facts);
        let key = (facts.tenant, facts.queue);
        if self.loads.get(&key).is_some_and(super::counts::Load::is_empty) {
            self.loads.remove(&key);
        }
    }
}
