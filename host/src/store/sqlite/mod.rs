//! Jobs on disk, for one host: the queue of `jobwright-core` with a durable table under it.
//!
//! ```text
//! JobStore method ─▶ Command ─▶ writer thread: take what waits ─▶ ledger: queue + rows ─▶ one COMMIT ─▶ answers
//! reads ─────────────────────▶ read-only connections
//! logs ──────────────────────▶ a writer and a file of their own, so that chatter never delays a job
//! ```
//!
//! What was answered is on disk. A failed commit answers nobody and stops the store: memory had
//! gone ahead of the disk. The data directory's lock is the lease on every running job, so at the
//! start all of them are reclaimed, and renewals are not written.

mod history;
mod ledger;
mod logs;
pub(crate) mod reader;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod table;
mod vacuum;
mod wal;
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use async_trait::async_trait;
use jobwright_core::attempt::Lease;
use jobwright_core::capacity::{Capacity, CapacityLimits, QueueFull};
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::{Job, JobId, NewJob, Payload};
use jobwright_core::lifecycle::CancelRequest;
use jobwright_core::limits::show_bytes;
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

use self::ledger::{Admission, Ledger};
use self::logs::Logs;
use self::reader::{LISTINGS, LOOKUPS, Readers};
use self::writer::{Effect, Writer};
use crate::disk::Floor;

/// Free space with which opening a store may fail for want of more: some times what it writes then.
const FULL_BYTES: u64 = 4 << 20;

/// See the module's text.
#[derive(Debug)]
pub struct SqliteStore {
    capacity: Arc<Capacity>,
    writer: Writer<Ledger>,
    readers: Arc<Readers>,
    listings: Arc<Readers>,
    logs: Logs,
    spare: Arc<AtomicU64>,
}

impl SqliteStore {
    /// Opens or makes the store in `directory`, which the caller has locked, and reclaims what was
    /// running when it was last used.
    ///
    /// # Errors
    /// With a reason a person can act on: the directory cannot be written, was written by a newer
    /// version, holds something that cannot be read, or lacks its jobs.
    pub fn open(directory: &Path, limits: CapacityLimits, now: Timestamp) -> anyhow::Result<Self> {
        refuse_if_missing(directory)?;
        with_room(directory, || Self::open_as_it_is(directory, limits, now))
    }

    fn open_as_it_is(
        directory: &Path,
        limits: CapacityLimits,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let capacity = Capacity::new(limits);
        let path = directory.join("jobs.db");
        let ledger = Ledger::open(&path, capacity.clone(), now)?;
        let spare = ledger.spare();
        Ok(Self {
            capacity,
            spare,
            writer: Writer::start("jobs", ledger)?,
            readers: Arc::new(Readers::new(&path, LOOKUPS)),
            listings: Arc::new(Readers::new(&path, LISTINGS)),
            logs: Logs::open(&directory.join("logs.db"), &path, limits.kept)?,
        })
    }

    async fn read<A: Send + 'static>(
        &self,
        query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<A> + Send + 'static,
    ) -> Result<A, StoreError> {
        self.readers.read(query).await
    }
}

/// What `open` opens in the data directory; on a full disk without the logs that are there.
///
/// # Errors
/// As `open` says, with what to do if the disk is full.
pub fn with_room<T>(directory: &Path, open: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let floor = Floor::new(directory, FULL_BYTES);
    let opened = open();
    if opened.is_ok() || !floor.is_reached() {
        return opened;
    }
    tracing::error!(
        directory = %directory.display(),
        "the disk is full: removing the logs of attempts, which no job needs, to start"
    );
    logs::remove(&directory.join("logs.db"));
    open().with_context(|| {
        format!(
            "the disk under {} has {} of free space: make room there and start again; no job is \
             lost",
            directory.display(),
            show_bytes(floor.free_bytes())
        )
    })
}

/// A directory that was used has its jobs. One that has lost them must not be taken for a new one:
/// its jobs would be forgotten, and SQLite would remove the write-ahead log that may hold them.
fn refuse_if_missing(directory: &Path) -> anyhow::Result<()> {
    let length = |file: &str| std::fs::metadata(directory.join(file)).map_or(0, |it| it.len());
    let traces = ["jobs.db-wal", "logs.db"];
    if length("jobs.db") == 0
        && let Some(trace) = traces.into_iter().find(|file| length(file) > 0)
    {
        anyhow::bail!(
            "the job store {} is missing or empty, but there is {trace} beside it: put back the \
             file that belongs to it, or use another data directory",
            directory.join("jobs.db").display()
        );
    }
    Ok(())
}

/// The answers, if they are all the same and need no look at the rows: there is no place.
fn refusals(admissions: &[Admission]) -> Option<Vec<Enqueued>> {
    let refusal = |admission: &Admission| match &admission.permit {
        Some(Err(full)) => Some(Enqueued::QueueFull(full.clone())),
        _ => None,
    };
    admissions.iter().map(refusal).collect()
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn enqueue(
        &self,
        jobs: Vec<NewJob>,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>, StoreError> {
        let bytes =
            jobs.iter().map(|job| usize::try_from(job.held_bytes()).unwrap_or(usize::MAX)).sum();
        // Places are taken here, before the writer's turn: a full queue answers at once. Only a
        // request that carries a key takes them later, as it may have been answered before.
        let keyed = jobs.iter().any(|job| job.idempotency.is_some());
        let mut admissions = Vec::with_capacity(jobs.len());
        for job in jobs {
            let reserve =
                || self.capacity.reserve(&(&job.spec).into(), job.held_bytes(), job.side(now));
            let permit = (!keyed).then(reserve);
            admissions.push(Admission { job, permit });
        }
        // A writer that has stopped holds places of jobs that it could not write: it must have the
        // chance to recover, so it is asked even when there seems to be no room.
        if let Some(answers) = refusals(&admissions)
            && self.writer.healthy().is_ok()
        {
            return Ok(answers);
        }
        let step = move |ledger: &mut Ledger| ledger.enqueue(admissions, now);
        self.writer.submit(Effect::Synced, bytes, step).await
    }

    async fn answered(
        &self,
        key: &str,
        fingerprint: Digest,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, StoreError> {
        let key = key.to_owned();
        self.read(move |db| reader::answered(db, &key, fingerprint, now)).await
    }

    async fn claim(&self, want: Claim, now: Timestamp) -> Result<Claimed, StoreError> {
        // A power loss that forgets a claim only makes the attempt again: no fsync of its own.
        self.writer.submit(Effect::Unsynced, 0, move |ledger| ledger.claim(&want, now)).await
    }

    async fn renew(
        &self,
        leases: Vec<Lease>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Renewal>, StoreError> {
        let step = move |ledger: &mut Ledger| Ok(ledger.renew(&leases, expires_at, now));
        self.writer.submit(Effect::Nothing, 0, step).await
    }

    async fn alive(&self, now: Timestamp) -> Result<(), StoreError> {
        // The death of the process does not undo it, and that is what it is for.
        let step = move |ledger: &mut Ledger| {
            ledger.pass_time(now);
            Ok(())
        };
        self.writer.submit(Effect::Unsynced, 0, step).await
    }

    async fn finish(&self, finish: Finish, now: Timestamp) -> Result<Finished, StoreError> {
        let output = finish.output.as_ref().map_or(0, |output| output.bytes.len());
        let bytes = output + finish.told.checkpoint.as_ref().map_or(0, |state| state.len());
        self.writer.submit(Effect::Synced, bytes, move |ledger| ledger.finish(&finish, now)).await
    }

    async fn request_cancel(
        &self,
        id: JobId,
        now: Timestamp,
    ) -> Result<Option<CancelRequest>, StoreError> {
        self.writer.submit(Effect::Synced, 0, move |ledger| ledger.request_cancel(id, now)).await
    }

    async fn redrive(&self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, StoreError> {
        self.writer.submit(Effect::Synced, 0, move |ledger| ledger.redrive(id, now)).await
    }

    async fn reclaim_expired(&self, now: Timestamp, most: usize) -> Result<Vec<JobId>, StoreError> {
        let step = move |ledger: &mut Ledger| ledger.reclaim_expired(now, most);
        self.writer.submit(Effect::Synced, 0, step).await
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.read(move |db| reader::job(db, id)).await
    }

    async fn payload(&self, id: JobId) -> Result<Option<Payload>, StoreError> {
        self.read(move |db| reader::payload(db, id)).await
    }

    async fn output(&self, id: JobId) -> Result<Option<Output>, StoreError> {
        self.read(move |db| reader::output(db, id)).await
    }

    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError> {
        let tenant = self.read(move |db| reader::tenant(db, id)).await?.unwrap_or_default();
        self.logs.save((tenant, id, attempt), log).await
    }

    async fn save_told(&self, lease: Lease, told: Told) -> Result<(), StoreError> {
        // A power loss may cost what was saved last, never all of it: a commit is whole.
        let bytes = told.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.len());
        let step = move |ledger: &mut Ledger| ledger.save_told(&lease, &told);
        self.writer.submit(Effect::Unsynced, bytes, step).await
    }

    async fn logs(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError> {
        self.logs.read(id).await
    }

    async fn list(
        &self,
        filter: JobFilter,
        page: Page,
        now: Timestamp,
    ) -> Result<JobPage, StoreError> {
        self.listings.read(move |db| reader::list(db, &filter, page, now)).await
    }

    async fn counts(&self, now: Timestamp) -> Result<Vec<QueueCounts>, StoreError> {
        let step = move |ledger: &mut Ledger| Ok(ledger.counts(now));
        self.writer.submit(Effect::Nothing, 0, step).await
    }

    async fn set_held(&self, hold: Hold, note: Option<HoldNote>) -> Result<(), StoreError> {
        let step = move |ledger: &mut Ledger| ledger.set_held(hold, note);
        self.writer.submit(Effect::Synced, 0, step).await
    }

    async fn holds(&self) -> Result<BTreeMap<Hold, HoldNote>, StoreError> {
        self.writer.submit(Effect::Nothing, 0, |ledger| Ok(ledger.holds())).await
    }

    async fn cancel_covered(
        &self,
        hold: Hold,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<(JobId, CancelRequest)>, StoreError> {
        let step = move |ledger: &mut Ledger| ledger.cancel_covered(&hold, now, most);
        self.writer.submit(Effect::Synced, 0, step).await
    }

    async fn set_tenant(&self, tenant: TenantName, limits: TenantLimits) -> Result<(), StoreError> {
        let step = move |ledger: &mut Ledger| ledger.set_tenant(&tenant, limits);
        self.writer.submit(Effect::Synced, 0, step).await
    }

    async fn tenant(&self, name: &TenantName) -> Result<TenantLimits, StoreError> {
        Ok(self.capacity.tenant(name))
    }

    async fn tenants(&self) -> Result<Vec<(TenantName, TenantLimits)>, StoreError> {
        Ok(self.capacity.tenants())
    }

    async fn prune(&self, retention: Retention, most: usize) -> Result<usize, StoreError> {
        let step = move |ledger: &mut Ledger| ledger.prune(retention, most);
        let (count, gone) = self.writer.submit(Effect::Synced, 0, step).await?;
        self.logs.remove(gone).await?;
        Ok(count)
    }

    fn uses(&self, tenant: &TenantName, plugin: &PluginName, version: Option<&Version>) -> usize {
        self.capacity.uses(tenant, plugin, version)
    }

    fn spare_bytes(&self) -> u64 {
        self.spare.load(Ordering::Relaxed)
    }

    fn full(&self) -> Option<QueueFull> {
        self.capacity.full()
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.writer.healthy()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_asks_for_one_job_waits_for_no_listing() {
        let directory = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let store = SqliteStore::open(directory.path(), CapacityLimits::default(), now).unwrap();
        let mut held = Vec::new();
        for _ in 0..LISTINGS {
            let (release, released) = mpsc::channel::<()>();
            let (listings, (begin, begun)) = (store.listings.clone(), oneshot::channel());
            let listing = tokio::spawn(async move {
                let long = move |_: &rusqlite::Connection| {
                    let _ = begin.send(());
                    let _ = released.recv();
                    Ok(())
                };
                listings.read(long).await
            });
            begun.await.unwrap();
            held.push((release, listing));
        }
        let listing = store.list(JobFilter::default(), Page { before: None, most: 1 }, now);
        let mut listing = std::pin::pin!(listing);
        assert!(futures_util::poll!(&mut listing).is_pending(), "it waits for the others");
        let found = tokio::time::timeout(Duration::from_secs(20), store.get(JobId::new(now))).await;
        assert_eq!(found.expect("it waits for none"), Ok(None));
        for (release, earlier) in held {
            drop(release);
            earlier.await.unwrap().unwrap();
        }
        assert_eq!(listing.await, Ok(JobPage::default()));
    }
}
