//! Commands of administrators: holds and tenant limits, and the counts of queues.

use super::rows::Rows;
use super::state::Ledger;
use crate::change::Event;
use crate::clock::Timestamp;
use crate::hold::{ControlsVersion, Hold, HoldChange, HoldNote, VersionedHolds};
use crate::queue::QueueCounts;
use crate::tenant::{TenantLimits, TenantName};

impl<R: Rows> Ledger<R> {
    /// See [`JobReads::counts`](crate::store::JobReads::counts).
    pub fn counts(&mut self, now: Timestamp) -> Vec<QueueCounts> {
        self.pass_time(now);
        self.queue.counts(now, &self.capacity.limits())
    }

    /// See [`Controls::set_held`](crate::store::Controls::set_held).
    ///
    /// # Errors
    /// As the rows.
    pub fn set_held(&mut self, hold: Hold, note: Option<HoldNote>) -> Result<(), R::Error> {
        self.rows.set_hold(&hold, note.as_ref())?;
        let held = note.is_some();
        self.queue.set_held(hold.clone(), held);
        let version = ControlsVersion::new(self.position.next().number());
        self.note(Event::Hold(HoldChange { hold: hold.clone(), held, version }));
        match note {
            Some(note) => drop(self.holds.insert(hold, note)),
            None => drop(self.holds.remove(&hold)),
        }
        Ok(())
    }

    /// See [`Controls::versioned_holds`](crate::store::Controls::versioned_holds). Positions grow with each
    /// change, so they are versions.
    #[must_use]
    pub fn versioned_holds(&self) -> VersionedHolds {
        let version = ControlsVersion::new(self.position.number());
        VersionedHolds { version, holds: self.holds.clone() }
    }

    /// Whether jobs are left to be moved that a hold covers or covered.
    #[must_use]
    pub fn is_sweeping(&self) -> bool {
        self.queue.is_sweeping()
    }

    /// Moves some of them, in memory.
    pub fn sweep(&mut self) {
        self.queue.sweep();
    }

    /// See [`Controls::set_tenant`](crate::store::Controls::set_tenant).
    ///
    /// # Errors
    /// As the rows.
    pub fn set_tenant(&mut self, name: &TenantName, limits: TenantLimits) -> Result<(), R::Error> {
        self.rows.set_tenant(name, limits)?;
        self.capacity.bound(name, limits);
        self.queue.bound(name, limits.running);
        self.note(Event::Tenant(name.clone()));
        Ok(())
    }
}
