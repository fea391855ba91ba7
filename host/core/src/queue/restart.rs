//! The state of a queue across a restart of its host.

use super::entry::{Home, Slot};
use super::index::Queue;
use crate::job::id::JobId;

impl Queue {
    /// An empty queue in place of this one.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let clocks = self.clocks.at(self.clocks.now);
        Self { head_start: self.head_start, clocks, ..Self::default() }
    }

    /// Resets what does not survive a restart of the host: the order in which lanes were served, and the
    /// times of draws within the reserve. Jobs that are not due yet wait for the wall clock from then on.
    pub fn restart(&mut self) {
        let mut queue = Self::new(self.head_start, self.clocks.now);
        for hold in self.holds() {
            queue.set_held(hold, true);
        }
        queue.lanes.bound_as(&self.lanes);
        let mut slots: Vec<_> = std::mem::take(&mut self.slots).into_iter().collect();
        slots.sort_unstable_by_key(|(_, slot)| slot.entry.row);
        for (id, slot) in slots {
            let waits = slot.home() == Some(Home::Waiting);
            let Slot { mut entry, holder } = slot;
            entry.lifecycle.on_wall = waits && entry.lifecycle.scheduled_at > queue.clocks.now;
            queue.restore(id, entry, holder);
        }
        queue.count_on(self.finished);
        *self = queue;
    }

    /// How far the wall clock was ahead of the host's when it was last read.
    #[must_use]
    pub fn ahead(&self) -> jiff::SignedDuration {
        self.clocks.ahead()
    }

    /// Jobs that became due by the wall clock since this was last asked: a store writes down that they
    /// are, wherever that clock is set afterwards.
    pub fn take_fallen_due(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.fallen_due)
    }

    /// Continues the count of finished attempts of the store's earlier hosts.
    pub fn count_on(&mut self, finished: u64) {
        self.finished = finished;
    }

    /// How many attempts were finished.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.finished
    }
}
