//! The reads of a store, implemented once for every engine.

use async_trait::async_trait;
use jobwright_core::change::ResumeToken;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Dedup, Job, JobId, Payload};
use jobwright_core::outcome::Output;
use jobwright_core::queue::QueueCounts;
use jobwright_core::store::{
    AttemptLog, ChangedSince, Enqueued, JobFilter, JobPage, JobReads, Page, StoreError,
};
use jobwright_core::tenant::TenantName;

use super::ledgered::{Effect, Engine, Ledgered};
use super::view::{ReadKind, View as _};

#[async_trait]
impl<E: Engine> JobReads for Ledgered<E> {
    async fn repeated(
        &self,
        tenant: &TenantName,
        dedup: &Dedup,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, StoreError> {
        let (tenant, asked) = (tenant.clone(), dedup.clone());
        let used =
            self.engine.read(ReadKind::Lookup, move |view| view.key(&tenant, &asked)).await?;
        Ok(used.and_then(|used| Enqueued::repeated(used, dedup, now)))
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.engine.read(ReadKind::Lookup, move |view| view.get(id)).await
    }

    async fn payload(&self, id: JobId) -> Result<Option<Payload>, StoreError> {
        self.engine.read(ReadKind::Lookup, move |view| view.payload(id)).await
    }

    async fn output(&self, id: JobId) -> Result<Option<Output>, StoreError> {
        self.engine.read(ReadKind::Lookup, move |view| view.output(id)).await
    }

    async fn logs(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError> {
        self.engine.logs(id).await
    }

    async fn list(
        &self,
        filter: JobFilter,
        page: Page,
        now: Timestamp,
    ) -> Result<JobPage, StoreError> {
        self.engine.read(ReadKind::Listing, move |view| view.list(&filter, page, now)).await
    }

    async fn counts(&self, now: Timestamp) -> Result<Vec<QueueCounts>, StoreError> {
        self.engine.run(Effect::Nothing, 0, move |ledger| Ok(ledger.counts(now))).await
    }

    async fn changed_since(
        &self,
        seen: &ResumeToken,
        most: usize,
    ) -> Result<ChangedSince, StoreError> {
        let position = seen.latest();
        let changed = move |view: &E::View| view.changed_since(position, most);
        self.engine.read(ReadKind::Listing, changed).await
    }
}
