//! Jobs in memory: for tests, for `jobwright run`, and as the model that durable drivers are held
//! against. Nothing survives the process.

mod rows;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jobwright_core::capacity::{Capacity, CapacityLimits};
use jobwright_core::change::{ChangeStream, ResumeToken};
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId, Payload};
use jobwright_core::ledger::{Ledger, Rows as _};
use jobwright_core::log::LogSnapshot;
use jobwright_core::outcome::Output;
use jobwright_core::plugin::Digest;
use jobwright_core::queue::QueueCounts;
use jobwright_core::store::{
    AttemptLog, ChangedSince, Enqueued, JobFilter, JobPage, JobReads, Page, StoreError,
};

use self::rows::MemoryRows;
use super::ledgered::{Effect, Engine, Ledgered};

/// See the module's text.
pub type MemoryStore = Ledgered<Memory>;

/// A ledger behind a lock.
#[derive(Debug)]
pub struct Memory {
    ledger: Mutex<Ledger<MemoryRows>>,
    changes: Arc<ChangeStream>,
}

impl MemoryStore {
    /// An empty store that holds at most what `limits` say.
    #[must_use]
    pub fn new(limits: CapacityLimits) -> Self {
        let (capacity, changes) = (Capacity::new(limits), Arc::new(ChangeStream::default()));
        let ledger = Ledger::new(MemoryRows::new(limits.kept), capacity.clone(), Timestamp::MIN);
        let engine = Memory { ledger: Mutex::new(ledger), changes: changes.clone() };
        Self { engine, capacity, changes }
    }

    /// Forgets what a host that is started again does not know, and reads the times of jobs as it does:
    /// for tests that hold a durable store against this one.
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

    async fn run<A: Send + 'static>(
        &self,
        _effect: Effect,
        _bytes: usize,
        step: impl FnOnce(&mut Ledger<MemoryRows>) -> Result<A, std::convert::Infallible> + Send,
    ) -> Result<A, StoreError> {
        let mut ledger = self.lock();
        let Ok(answer) = step(&mut ledger);
        while ledger.is_sweeping() {
            ledger.sweep();
        }
        self.changes.publish(ledger.take_changes());
        Ok(answer)
    }

    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError> {
        self.lock().rows_mut().save_log(id, attempt, log);
        Ok(())
    }

    async fn remove_logs(&self, ids: Vec<JobId>) -> Result<(), StoreError> {
        self.lock().rows_mut().remove_logs(&ids);
        Ok(())
    }

    fn spare_bytes(&self) -> u64 {
        0
    }

    fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl JobReads for MemoryStore {
    async fn answered(
        &self,
        key: &str,
        fingerprint: Digest,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, StoreError> {
        let Ok(answer) = self.engine.lock().rows_mut().answered(key, fingerprint, now);
        Ok(answer)
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.engine.lock().rows().record(id).map(|record| record.job.clone()))
    }

    async fn payload(&self, id: JobId) -> Result<Option<Payload>, StoreError> {
        Ok(self.engine.lock().rows().record(id).map(|record| record.payload.clone()))
    }

    async fn output(&self, id: JobId) -> Result<Option<Output>, StoreError> {
        Ok(self.engine.lock().rows().record(id).and_then(|record| record.output.clone()))
    }

    async fn logs(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError> {
        Ok(self.engine.lock().rows().logs(id))
    }

    async fn list(
        &self,
        filter: JobFilter,
        page: Page,
        now: Timestamp,
    ) -> Result<JobPage, StoreError> {
        Ok(self.engine.lock().rows().list(&filter, page, now))
    }

    async fn counts(&self, now: Timestamp) -> Result<Vec<QueueCounts>, StoreError> {
        Ok(self.engine.lock().counts(now))
    }

    async fn changed_since(
        &self,
        seen: &ResumeToken,
        most: usize,
    ) -> Result<ChangedSince, StoreError> {
        let position = seen.latest();
        let ledger = self.engine.lock();
        if position < ledger.pruned() {
            return Ok(ChangedSince::Reset);
        }
        Ok(ChangedSince::Jobs(ledger.rows().changed_since(position, most)))
    }
}
