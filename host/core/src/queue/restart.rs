//! The state of a queue across a restart of its host.

use super::entry::{Home, Slot};
use super::hosts::{Holder, Hosts};
use super::index::Queue;
use crate::clock::Timestamp;
use crate::job::id::JobId;

impl Queue {
    /// An empty queue in place of this one.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let clocks = self.clocks.at(self.clocks.now);
        Self { head_start: self.head_start, clocks, ..Self::default() }
    }

    /// Resets what does not survive a restart of the host: the order in which lanes were served, the times of
    /// draws within the reserve, and what is known of hosts. Jobs that are not due yet wait for the wall clock from then on.
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
            let Slot { mut entry, expires_at } = slot;
            entry.lifecycle.on_wall = waits && entry.lifecycle.scheduled_at > queue.clocks.now;
            queue.restore(id, entry, expires_at);
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

    /// What is known of hosts whose signs of life or finished attempts are new since this was last called.
    #[must_use]
    pub fn take_signs_of_life(&mut self) -> Vec<Holder> {
        self.hosts.take_signs_of_life()
    }

    /// Adds what a store found of a host when it was opened.
    pub fn restore_holder(&mut self, holder: &Holder) {
        self.hosts.restore(holder);
    }

    /// Notes that every host lives that holds leases, or held some.
    pub fn all_alive(&mut self, now: Timestamp) {
        self.hosts.all_live(now);
    }

    /// Forgets all hosts. There are no running jobs.
    pub fn forget_hosts(&mut self) {
        debug_assert!(self.running.is_empty(), "a host runs a job");
        self.hosts = Hosts::default();
    }

    /// How many attempts were finished.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.finished
    }
}
