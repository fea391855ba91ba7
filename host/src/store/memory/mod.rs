//! Jobs in memory: for tests, for `jobwright run`, and as the model that durable drivers are
//! compared with. Nothing survives the process.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::capacity::{Capacity, CapacityLimits};
use jobwright_core::change::{ChangeStream, Position};
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Dedup, Job, JobId, Payload, UsedKey};
use jobwright_core::ledger::{Ledger, MemoryRows, Rows as _};
use jobwright_core::log::LogSnapshot;
use jobwright_core::outcome::Output;
use jobwright_core::store::{AttemptLog, ChangedSince, JobFilter, JobPage, Page, StoreError};
use jobwright_core::tenant::TenantName;

use super::ledgered::{Effect, Engine, Ledgered};
use super::view::{ReadKind, View};

/// See the documentation of the module.
pub type MemoryStore = Ledgered<Memory>;

/// A ledger behind a lock.
#[derive(Debug)]
pub struct Memory {
    ledger: Mutex<Ledger<MemoryRows>>,
    changes: Arc<ChangeStream>,
}

impl MemoryStore {
    /// An empty store within `limits`.
    #[must_use]
    pub fn new(limits: CapacityLimits) -> Self {
        let (capacity, changes) = (Capacity::new(limits), Arc::new(ChangeStream::default()));
        let rows = MemoryRows::new(limits.kept.log_bytes);
        let ledger = Mutex::new(Ledger::new(rows, capacity.clone(), Timestamp::MIN));
        Self { engine: Memory { ledger, changes: changes.clone() }, capacity, changes }
    }

    /// Resets the state that does not survive a restart, and adjusts the times of jobs as a restart
    /// does: for tests that compare a durable store with this one.
    pub fn restart(&self) {
        let Ok(()) = self.engine.lock().restart();
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Ledger<MemoryRows>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Memory {
    type Rows = MemoryRows;
    type View = MemoryRows;

    async fn run<A: Send + 'static>(
        &self,
        _effect: Effect,
        _bytes: usize,
        step: impl FnOnce(&mut Ledger<MemoryRows>) -> Result<A, Infallible> + Send,
    ) -> Result<A, StoreError> {
        let mut ledger = self.lock();
        let Ok(answer) = step(&mut ledger);
        while ledger.is_sweeping() {
            ledger.sweep();
        }
        let changes = ledger.take_changes();
        self.changes.tell(&changes);
        self.changes.publish(changes);
        Ok(answer)
    }

    async fn read<A: Send + 'static>(
        &self,
        _kind: ReadKind,
        step: impl FnOnce(&MemoryRows) -> Result<A, Infallible> + Send,
    ) -> Result<A, StoreError> {
        let Ok(answer) = step(self.lock().rows());
        Ok(answer)
    }

    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError> {
        self.lock().rows_mut().save_log(id, AttemptLog { attempt, log });
        Ok(())
    }

    async fn logs(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError> {
        Ok(self.lock().rows().logs().of(id))
    }
}

impl View for MemoryRows {
    type Error = Infallible;

    fn get(&self, id: JobId) -> Result<Option<Job>, Infallible> {
        Ok(self.stored(id).map(|stored| stored.job.clone()))
    }

    fn payload(&self, id: JobId) -> Result<Option<Payload>, Infallible> {
        Ok(self.stored(id).map(|stored| stored.payload.clone()))
    }

    fn output(&self, id: JobId) -> Result<Option<Output>, Infallible> {
        Ok(self.stored(id).and_then(|stored| stored.output.clone()))
    }

    fn key(&self, tenant: &TenantName, dedup: &Dedup) -> Result<Option<UsedKey>, Infallible> {
        self.used_key(tenant, dedup)
    }

    fn list(&self, filter: &JobFilter, page: Page, now: Timestamp) -> Result<JobPage, Infallible> {
        let jobs = self.below(page.before.unwrap_or(JobId::from_bytes([0xff; 16])));
        Ok(JobPage::of(jobs, filter, page.most, now))
    }

    fn changed_since(&self, position: Position, most: usize) -> Result<ChangedSince, Infallible> {
        Ok(self.changed_since(position, most))
    }
}
