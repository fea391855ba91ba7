//! A store that says what it did: any driver, with hints after each answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jobwright_core::attempt::Lease;
use jobwright_core::capacity::QueueFull;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::{Job, JobId, NewJob, Payload};
use jobwright_core::lifecycle::CancelRequest;
use jobwright_core::log::LogSnapshot;
use jobwright_core::outcome::Output;
use jobwright_core::plugin::{Digest, PluginName, Version};
use jobwright_core::queue::QueueCounts;
use jobwright_core::report::Told;
use jobwright_core::store::{
    AttemptLog, Claim, Claimed, Enqueued, Finish, Finished, JobFilter, JobPage, JobStore, Page,
    Redriven, Renewal, Retention, StoreError,
};
use jobwright_core::tenant::{TenantLimits, TenantName};
use tokio::sync::Mutex;

use super::Signals;

/// See the module's text.
pub struct AnnouncingStore {
    store: Arc<dyn JobStore>,
    signals: Arc<Signals>,
    /// One hold at a time comes or goes: the store and the hints then agree on which was the last.
    holding: Arc<Mutex<()>>,
}

impl AnnouncingStore {
    /// `store`, with hints to `signals`.
    #[must_use]
    pub fn new(store: Arc<dyn JobStore>, signals: Arc<Signals>) -> Self {
        Self { store, signals, holding: Arc::default() }
    }

    fn cancelled(&self, id: JobId, answer: CancelRequest) {
        match answer {
            CancelRequest::Cancelled => self.signals.finalized(id),
            CancelRequest::Stopping { attempt } => self.signals.cancel(id, attempt),
            CancelRequest::AlreadyCancelled | CancelRequest::Finalized(_) => {}
        }
    }
}

/// Attempts are stopped when the store claims no more of the jobs, so that none is begun again: what it has
/// claimed meanwhile is stopped when it is enlisted. They may begin before it claims them.
async fn set_held(
    store: &dyn JobStore,
    signals: &Signals,
    hold: Hold,
    note: Option<HoldNote>,
) -> Result<(), StoreError> {
    let held = note.is_some();
    let was_off = !held && signals.hold(hold.clone(), false);
    let answer = store.set_held(hold.clone(), note).await;
    if if answer.is_ok() { held } else { was_off } {
        signals.hold(hold, true);
    }
    signals.work.notify_one();
    answer
}

#[async_trait]
impl JobStore for AnnouncingStore {
    async fn enqueue(
        &self,
        jobs: Vec<NewJob>,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>, StoreError> {
        let answers = self.store.enqueue(jobs, now).await?;
        if answers.contains(&Enqueued::Inserted) {
            self.signals.work.notify_one();
        }
        Ok(answers)
    }

    async fn answered(
        &self,
        key: &str,
        fingerprint: Digest,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, StoreError> {
        self.store.answered(key, fingerprint, now).await
    }

    async fn claim(&self, want: Claim, now: Timestamp) -> Result<Claimed, StoreError> {
        self.store.claim(want, now).await
    }

    async fn renew(
        &self,
        leases: Vec<Lease>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Renewal>, StoreError> {
        self.store.renew(leases, expires_at, now).await
    }

    async fn alive(&self, now: Timestamp) -> Result<(), StoreError> {
        self.store.alive(now).await
    }

    async fn finish(&self, finish: Finish, now: Timestamp) -> Result<Finished, StoreError> {
        let id = finish.lease.job;
        let answer = self.store.finish(finish, now).await?;
        match answer {
            Finished::Recorded(state) if state.is_finalized() => self.signals.finalized(id),
            // It waits for another attempt, perhaps one that is due before what workers know of.
            Finished::Recorded(_) => self.signals.work.notify_one(),
            Finished::LeaseLost => {}
        }
        Ok(answer)
    }

    async fn request_cancel(
        &self,
        id: JobId,
        now: Timestamp,
    ) -> Result<Option<CancelRequest>, StoreError> {
        let answer = self.store.request_cancel(id, now).await?;
        if let Some(answer) = answer {
            self.cancelled(id, answer);
        }
        Ok(answer)
    }

    async fn redrive(&self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, StoreError> {
        let answer = self.store.redrive(id, now).await?;
        self.signals.work.notify_one();
        Ok(answer)
    }

    async fn reclaim_expired(&self, now: Timestamp, most: usize) -> Result<Vec<JobId>, StoreError> {
        let reclaimed = self.store.reclaim_expired(now, most).await?;
        for id in &reclaimed {
            // Over or due again: who waits looks at the store.
            self.signals.finalized(*id);
        }
        self.signals.work.notify_one();
        Ok(reclaimed)
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.store.get(id).await
    }

    async fn payload(&self, id: JobId) -> Result<Option<Payload>, StoreError> {
        self.store.payload(id).await
    }

    async fn output(&self, id: JobId) -> Result<Option<Output>, StoreError> {
        self.store.output(id).await
    }

    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError> {
        self.store.save_log(id, attempt, log).await
    }

    async fn save_told(&self, lease: Lease, told: Told) -> Result<(), StoreError> {
        self.store.save_told(lease, told).await
    }

    async fn logs(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError> {
        self.store.logs(id).await
    }

    async fn list(
        &self,
        filter: JobFilter,
        page: Page,
        now: Timestamp,
    ) -> Result<JobPage, StoreError> {
        self.store.list(filter, page, now).await
    }

    async fn counts(&self, now: Timestamp) -> Result<Vec<QueueCounts>, StoreError> {
        self.store.counts(now).await
    }

    async fn set_held(&self, hold: Hold, note: Option<HoldNote>) -> Result<(), StoreError> {
        let (store, signals, holding) =
            (self.store.clone(), self.signals.clone(), self.holding.clone());
        let work = async move {
            let _alone = holding.lock().await;
            set_held(&*store, &signals, hold, note).await
        };
        // In a task of its own: a caller that goes away must not leave the store and the hints apart.
        tokio::spawn(work).await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable { reason: format!("a hold was broken off: {error}") })
        })
    }

    async fn holds(&self) -> Result<BTreeMap<Hold, HoldNote>, StoreError> {
        self.store.holds().await
    }

    async fn cancel_covered(
        &self,
        hold: Hold,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<(JobId, CancelRequest)>, StoreError> {
        let answers = self.store.cancel_covered(hold, now, most).await?;
        for (id, answer) in &answers {
            self.cancelled(*id, *answer);
        }
        Ok(answers)
    }

    async fn set_tenant(&self, tenant: TenantName, limits: TenantLimits) -> Result<(), StoreError> {
        self.store.set_tenant(tenant, limits).await?;
        self.signals.work.notify_one();
        Ok(())
    }

    async fn tenant(&self, name: &TenantName) -> Result<TenantLimits, StoreError> {
        self.store.tenant(name).await
    }

    async fn tenants(&self) -> Result<Vec<(TenantName, TenantLimits)>, StoreError> {
        self.store.tenants().await
    }

    async fn prune(&self, retention: Retention, most: usize) -> Result<usize, StoreError> {
        self.store.prune(retention, most).await
    }

    fn uses(&self, tenant: &TenantName, plugin: &PluginName, version: Option<&Version>) -> usize {
        self.store.uses(tenant, plugin, version)
    }

    fn spare_bytes(&self) -> u64 {
        self.store.spare_bytes()
    }

    fn full(&self) -> Option<QueueFull> {
        self.store.full()
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.store.ready()
    }
}
