//! A store on a ledger: the traits of a store, implemented once for every engine that runs commands. Its
//! reads are in [`reading`](super::reading).

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use jobwright_core::attempt::Lease;
use jobwright_core::capacity::{Capacity, QueueFull};
use jobwright_core::change::ChangeStream;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote, JobLabels, VersionedHolds};
use jobwright_core::host::HostId;
use jobwright_core::job::{CancelRequest, JobId, JobSpec, NewJob};
use jobwright_core::ledger::{Admission, Ledger, Rows};
use jobwright_core::log::LogSnapshot;
use jobwright_core::plugin::{PluginName, Version};
use jobwright_core::report::ProgressUpdate;
use jobwright_core::store::{
    AttemptLog, AttemptTraces, Claim, Claimed, Controls, Enqueued, Finish, Finished, JobStore,
    Redriven, Renewal, Retention, StoreError,
};
use jobwright_core::tenant::{TenantLimits, TenantName};

use super::view::{ReadKind, View};
pub use crate::sqlite::writer::Effect;
use crate::sqlite::writer::ROW_BYTES;

/// Runs commands on a ledger, one after another, and publishes the changes of each commit.
pub trait Engine: Send + Sync + 'static {
    /// The rows under the ledger.
    type Rows: Rows;
    /// The committed state, for reads.
    type View: View;

    /// Runs `step`, which writes about `bytes`, and returns when it is committed.
    fn run<A: Send + 'static>(
        &self,
        effect: Effect,
        bytes: usize,
        step: impl FnOnce(&mut Ledger<Self::Rows>) -> Result<A, <Self::Rows as Rows>::Error>
        + Send
        + 'static,
    ) -> impl Future<Output = Result<A, StoreError>> + Send;

    /// Reads the committed state, concurrently with commands.
    fn read<A: Send + 'static>(
        &self,
        kind: ReadKind,
        step: impl FnOnce(&Self::View) -> Result<A, <Self::View as View>::Error> + Send + 'static,
    ) -> impl Future<Output = Result<A, StoreError>> + Send;

    /// Keeps the log of an attempt.
    fn save_log(
        &self,
        id: JobId,
        attempt: u32,
        log: LogSnapshot,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// See [`JobReads::logs`](jobwright_core::store::JobReads::logs).
    fn logs(&self, id: JobId) -> impl Future<Output = Result<Vec<AttemptLog>, StoreError>> + Send;

    /// Removes the logs of removed jobs, if logs are stored separately.
    fn remove_logs(&self, ids: Vec<JobId>) -> impl Future<Output = Result<(), StoreError>> + Send {
        drop(ids);
        async { Ok(()) }
    }

    /// See [`JobStore::spare_bytes`]; none where nothing is on disk.
    fn spare_bytes(&self) -> u64 {
        0
    }

    /// See [`JobStore::ready`]; always, where nothing is on disk.
    fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Ledgered<E> {
    pub(super) engine: E,
    pub(super) capacity: Arc<Capacity>,
    pub(super) changes: Arc<ChangeStream>,
}

/// The answers, if all jobs are refused for lack of capacity without reading rows.
fn refusals(admissions: &[Admission]) -> Option<Vec<Enqueued>> {
    let refusal = |admission: &Admission| match &admission.permit {
        Some(Err(full)) => Some(Enqueued::QueueFull(full.clone())),
        _ => None,
    };
    admissions.iter().map(refusal).collect()
}

impl<E: Engine> Ledgered<E> {
    /// Acquires the permits of jobs before the command is queued, so that a full queue is refused
    /// at once. Jobs with a key acquire them later, because the key may be in use.
    fn admit(&self, jobs: Vec<NewJob>, now: Timestamp) -> Vec<Admission> {
        if jobs.iter().any(|job| job.dedup.is_some()) {
            return jobs.into_iter().map(|job| Admission { job, permit: None }).collect();
        }
        // Jobs that arrive together mostly have equal specifications, of which one is kept.
        let mut before: Option<(Arc<JobSpec>, Arc<JobLabels>)> = None;
        let admit = |mut job: NewJob| {
            let labels = match before.take_if(|(spec, _)| *spec == job.spec) {
                Some((spec, labels)) => {
                    job.spec = spec;
                    labels
                }
                None => (&*job.spec).into(),
            };
            let permit = self.capacity.reserve(&labels, job.held_bytes(), job.side(now));
            before = Some((job.spec.clone(), labels));
            Admission { job, permit: Some(permit) }
        };
        jobs.into_iter().map(admit).collect()
    }
}

#[async_trait]
impl<E: Engine> JobStore for Ledgered<E> {
    async fn enqueue(
        &self,
        jobs: Vec<NewJob>,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>, StoreError> {
        let bytes_of = |job: &NewJob| usize::try_from(job.held_bytes()).unwrap_or(usize::MAX);
        let bytes = jobs.iter().map(|job| bytes_of(job).saturating_add(ROW_BYTES)).sum();
        let admissions = self.admit(jobs, now);
        // A stopped engine holds permits of jobs that it could not write. It gets the command even
        // if no permit is free, so that it can recover.
        if let Some(answers) = refusals(&admissions)
            && self.engine.ready().is_ok()
        {
            return Ok(answers);
        }
        let step = move |ledger: &mut Ledger<_>| ledger.enqueue(admissions, now);
        self.engine.run(Effect::Synced, bytes, step).await
    }

    async fn claim(&self, want: Claim, now: Timestamp) -> Result<Claimed, StoreError> {
        // Without a sync: if a power loss undoes a claim, the attempt is only repeated, and a job whose time was
        // over is ended again by the first claim.
        self.engine.run(Effect::Unsynced, 0, move |ledger| ledger.claim(&want, now)).await
    }

    async fn renew(
        &self,
        leases: Vec<Lease>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Renewal>, StoreError> {
        let step = move |ledger: &mut Ledger<_>| Ok(ledger.renew(&leases, expires_at, now));
        self.engine.run(Effect::Nothing, 0, step).await
    }

    async fn alive(&self, host: HostId, now: Timestamp) -> Result<(), StoreError> {
        // Without a sync: it must survive the death of the process only.
        let step = move |ledger: &mut Ledger<_>| {
            ledger.alive(host, now);
            Ok(())
        };
        self.engine.run(Effect::Unsynced, 0, step).await
    }

    async fn finish(&self, finish: Arc<Finish>, now: Timestamp) -> Result<Finished, StoreError> {
        let output = finish.output.as_ref().map_or(0, |output| output.bytes.len());
        let bytes = output + finish.told.checkpoint.as_ref().map_or(0, |state| state.len());
        // A record that cannot be written as JSON is refused by the driver.
        let json = serde_json::to_string(&[&finish.record]).ok();
        let step = move |ledger: &mut Ledger<_>| ledger.finish(&finish, json.as_deref(), now);
        self.engine.run(Effect::Synced, bytes, step).await
    }

    async fn request_cancel(
        &self,
        id: JobId,
        now: Timestamp,
    ) -> Result<Option<CancelRequest>, StoreError> {
        self.engine.run(Effect::Synced, 0, move |ledger| ledger.request_cancel(id, now)).await
    }

    async fn cancel_covered(
        &self,
        hold: Hold,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<(JobId, CancelRequest)>, StoreError> {
        let step = move |ledger: &mut Ledger<_>| ledger.cancel_covered(&hold, now, most);
        self.engine.run(Effect::Synced, 0, step).await
    }

    async fn redrive(&self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, StoreError> {
        self.engine.run(Effect::Synced, 0, move |ledger| ledger.redrive(id, now)).await
    }

    async fn reclaim_expired(&self, now: Timestamp, most: usize) -> Result<Vec<JobId>, StoreError> {
        let step = move |ledger: &mut Ledger<_>| ledger.reclaim_expired(now, most);
        self.engine.run(Effect::Synced, 0, step).await
    }

    async fn prune(&self, retention: Retention, most: usize) -> Result<usize, StoreError> {
        let step = move |ledger: &mut Ledger<_>| ledger.prune(&retention, most);
        let (count, gone) = self.engine.run(Effect::Synced, 0, step).await?;
        self.engine.remove_logs(gone).await?;
        Ok(count)
    }

    fn changes(&self) -> Arc<ChangeStream> {
        self.changes.clone()
    }

    async fn uses(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
        version: Option<&Version>,
    ) -> Result<usize, StoreError> {
        Ok(self.capacity.uses(tenant, plugin, version))
    }

    fn spare_bytes(&self) -> u64 {
        self.engine.spare_bytes()
    }

    fn full(&self) -> Option<QueueFull> {
        self.capacity.full()
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.engine.ready()
    }
}

#[async_trait]
impl<E: Engine> Controls for Ledgered<E> {
    async fn set_held(&self, hold: Hold, note: Option<HoldNote>) -> Result<(), StoreError> {
        let step = move |ledger: &mut Ledger<_>| ledger.set_held(hold, note);
        self.engine.run(Effect::Synced, 0, step).await
    }

    async fn versioned_holds(&self) -> Result<VersionedHolds, StoreError> {
        self.engine.run(Effect::Nothing, 0, |ledger| Ok(ledger.versioned_holds())).await
    }

    async fn set_tenant(&self, tenant: TenantName, limits: TenantLimits) -> Result<(), StoreError> {
        let step = move |ledger: &mut Ledger<_>| ledger.set_tenant(&tenant, limits);
        self.engine.run(Effect::Synced, 0, step).await
    }

    async fn tenant(&self, name: &TenantName) -> Result<TenantLimits, StoreError> {
        Ok(self.capacity.tenant(name))
    }

    async fn tenants(&self) -> Result<Vec<(TenantName, TenantLimits)>, StoreError> {
        Ok(self.capacity.tenants())
    }
}

#[async_trait]
impl<E: Engine> AttemptTraces for Ledgered<E> {
    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError> {
        self.engine.save_log(id, attempt, log).await
    }

    async fn save_progress(&self, lease: Lease, told: ProgressUpdate) -> Result<(), StoreError> {
        // Without a sync: a power loss may cost the latest save, but commits are atomic.
        let bytes = told.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.len());
        let step = move |ledger: &mut Ledger<_>| ledger.save_progress(&lease, &told);
        self.engine.run(Effect::Unsynced, bytes, step).await
    }
}
