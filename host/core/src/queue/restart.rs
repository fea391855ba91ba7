//! What a queue keeps when its host starts again.

use super::entry::Slot;
use super::index::Queue;
use crate::job::id::JobId;
use crate::job::lifecycle::Lifecycle;
use crate::job::state::JobState;

impl Queue {
    /// An empty queue in place of this one.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let clocks = self.clocks.at(self.clocks.now);
        Self { head_start: self.head_start, clocks, ..Self::default() }
    }

    /// Forgets what the queue of a host that is started again does not know: turns and the times of draws
    /// within the reserve. What is not due yet waits for the wall clock from then on.
    pub fn restart(&mut self) {
        let mut queue = Self::new(self.head_start, self.clocks.now);
        for hold in self.held() {
            queue.set_held(hold, true);
        }
        queue.lanes.bound_as(&self.lanes);
        let mut slots: Vec<_> = std::mem::take(&mut self.slots).into_iter().collect();
        slots.sort_unstable_by_key(|(_, slot)| slot.entry.row);
        for (id, Slot { mut entry, holder, .. }) in slots {
            let Lifecycle { state, scheduled_at, .. } = entry.lifecycle;
            entry.lifecycle.on_wall =
                state == JobState::Available && scheduled_at > queue.clocks.now;
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
