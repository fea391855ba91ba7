//! The queue with its rows under it: every method changes both, inside the writer's transaction.

mod keeping;
mod loading;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use jobwright_core::attempt::{AttemptRecord, Lease};
use jobwright_core::capacity::{Capacity, Checkpoints, HeldKeys, Permit, QueueFull, Side};
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::{JobId, NewJob};
use jobwright_core::lifecycle::{CancelRequest, Lifecycle, Redrive};
use jobwright_core::outcome::{AttemptError, Outcome, Usage};
use jobwright_core::queue::{Entry, Holder, Queue, QueueCounts};
use jobwright_core::report::Told;
use jobwright_core::retry::Verdict;
use jobwright_core::store::{
    Claim, Claimed, Enqueued, Finish, Finished, Leased, Redriven, Renewal, Retention, StoreError,
};
use jobwright_core::tenant::{TenantLimits, TenantName};
use rusqlite::Connection;

use super::history::History;
use super::table::HostRow;
use super::wal::{self, Damage};
use super::writer::State;
use super::{reader, schema, table, vacuum};
use crate::disk::Floor;
use crate::telemetry;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Ledger {
    db: Connection,
    queue: Queue,
    /// The latest time that a command brought.
    now: Timestamp,
    capacity: Arc<Capacity>,
    floor: Floor,
    /// Whether the disk was below all of the floor when it was last looked at.
    is_low: bool,
    /// The `seq` of the job that was enqueued or redriven last; also the order of arrival.
    last_seq: i64,
    checkpoints: Checkpoints,
    /// What failed attempts at unfinished jobs left, which is counted as checkpoints are.
    failed_outputs: Checkpoints,
    holds: BTreeMap<Hold, HoldNote>,
    /// What the answers to idempotency keys take.
    keys: HeldKeys,
    history: History,
    /// What can be used again before the file grows; readers look at it without the writer.
    spare: Arc<AtomicU64>,
    /// About what was written since the history was last measured.
    grown_bytes: u64,
    /// Jobs that went to make room and whose logs are still there.
    trimmed: Vec<JobId>,
}

/// The part of the floor at which finished jobs and checkpoints give way. Logs and compiled code, which
/// are missed less, give way at all of it.
const LATER: u64 = 2;

/// A job to be enqueued with its place, if there was one; `None` to take one only when its turn
/// comes.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) job: NewJob,
    pub(super) permit: Option<Result<Permit, QueueFull>>,
}

/// Opens or makes the database, and gives back what it does not need of the disk.
fn open_database(path: &Path, disk: &Floor) -> anyhow::Result<Connection> {
    if let Some(Damage { commits, copy }) = wal::set_aside_if_damaged(path)? {
        tracing::error!(
            path = %path.display(),
            copy = %copy.display(),
            commits,
            "the write-ahead log is damaged, and commits behind the damage are lost: unless they \
             were never answered, as when power went, jobs that were accepted are missing, and \
             what can still be read of them is in the copy"
        );
    }
    let db = schema::open_jobs(path)?;
    if let Err(error) = vacuum::vacuum(&db, disk) {
        tracing::warn!(%error, "cannot give free pages of the job store back to the disk");
    }
    Ok(db)
}

/// Whether what should be there is not, or is not what was written.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::QueryReturnedNoRows)
        || matches!(reader::store_error(error), StoreError::Corrupt { .. })
}

impl State for Ledger {
    fn connection(&self) -> &Connection {
        &self.db
    }

    fn seal(&mut self) -> rusqlite::Result<()> {
        for id in self.queue.take_fallen_due() {
            if let Some(lifecycle) = self.queue.lifecycle(id) {
                table::update(&self.db, id, lifecycle)?;
            }
        }
        self.history.save(&self.db)?;
        self.measure_spare()?;
        let (finished, ahead) = (self.queue.finished(), self.queue.ahead());
        table::set_host(&self.db, HostRow { alive_at: self.now, finished, ahead })
    }

    fn has_chore(&self) -> bool {
        self.queue.is_sweeping()
    }

    fn chore(&mut self) {
        self.queue.sweep();
    }

    fn reload(&mut self) -> rusqlite::Result<()> {
        // Attempts went on while the store was away; the heartbeat sets the ends of their leases.
        let holder = Holder { expires_at: Timestamp::MAX, alive_at: self.now };
        self.load(self.queue.emptied(), holder)
    }

    fn is_disk_low(&mut self) -> bool {
        std::mem::take(&mut self.is_low)
    }
}

impl Ledger {
    /// Opens or makes the database, rebuilds the queue from its rows and reclaims what was running.
    pub(super) fn open(
        path: &Path,
        capacity: Arc<Capacity>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let kept = capacity.limits().kept;
        let floor = Floor::new(path, kept.free_bytes / LATER);
        let db = open_database(path, &floor)?;
        let (queue, checkpoints) = (Queue::default(), Checkpoints::default());
        let mut ledger = Self {
            db,
            queue,
            now,
            capacity,
            floor,
            is_low: false,
            last_seq: 0,
            checkpoints,
            failed_outputs: Checkpoints::default(),
            holds: BTreeMap::new(),
            keys: HeldKeys::default(),
            history: History::default(),
            spare: Arc::default(),
            grown_bytes: 0,
            trimmed: vec![],
        };
        ledger
            .load_after_death()
            .with_context(|| format!("cannot read the job store {}", path.display()))?;
        let reclaimed = ledger
            .take_back(now)
            .with_context(|| format!("cannot write the job store {}", path.display()))?;
        tracing::info!(unfinished = ledger.queue.len(), reclaimed, "opened the job store");
        Ok(ledger)
    }

    /// Brings the present time, which a commit then writes as a sign of life.
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.queue.pass_time(now);
    }

    /// Writes what became of a job, as [`table::transition`].
    fn transition(
        &mut self,
        id: JobId,
        lifecycle: &Lifecycle,
        ended: Option<&AttemptRecord>,
    ) -> rusqlite::Result<()> {
        if lifecycle.state.is_finalized() {
            self.checkpoints.forget(id);
            self.failed_outputs.forget(id);
        }
        if let Some(held) = table::transition(&self.db, id, lifecycle, ended)? {
            self.history.add(held);
        }
        Ok(())
    }

    /// See [`JobStore::enqueue`](jobwright_core::JobStore::enqueue).
    pub(super) fn enqueue(
        &mut self,
        jobs: Vec<Admission>,
        now: Timestamp,
    ) -> rusqlite::Result<Vec<Enqueued>> {
        jobs.into_iter().map(|admission| self.enqueue_one(admission, now)).collect()
    }

    fn enqueue_one(&mut self, admission: Admission, now: Timestamp) -> rusqlite::Result<Enqueued> {
        let Admission { job, permit } = admission;
        if let Some(key) = &job.idempotency
            && let Some(answered) = reader::answered(&self.db, &key.key, key.fingerprint, now)?
        {
            return Ok(answered);
        }
        let (tenant, kept) = (&job.spec.tenant, self.capacity.limits().kept);
        let limits = self.capacity.tenant(tenant);
        if let Some(key) = &job.idempotency
            && let Err(full) = self.keys.check((tenant, limits), key.bytes(), kept)
        {
            return Ok(Enqueued::QueueFull(full));
        }
        self.pass_time(now);
        let (held_bytes, side) = (job.held_bytes(), job.side(now));
        let reserve = || self.capacity.reserve(&(&job.spec).into(), held_bytes, side);
        let permit = match permit.unwrap_or_else(reserve) {
            Ok(permit) => permit,
            Err(full) => return Ok(Enqueued::QueueFull(full)),
        };
        let lifecycle = job.lifecycle(now);
        self.last_seq += 1;
        table::insert(&self.db, self.last_seq, &job, &lifecycle, now)?;
        if let Some(key) = &job.idempotency {
            table::remember_key(&self.db, job.id, key)?;
            self.keys.add(key.tenant(), key.bytes());
        }
        self.queue.insert(job.id, Entry::new(&job.spec, lifecycle, permit), now);
        self.grow(held_bytes)?;
        Ok(Enqueued::Inserted)
    }

    /// See [`JobStore::claim`](jobwright_core::JobStore::claim).
    pub(super) fn claim(&mut self, want: &Claim, now: Timestamp) -> rusqlite::Result<Claimed> {
        self.pass_time(now);
        let leases = self.queue.claim(want, now);
        let mut leased = Vec::with_capacity(leases.len());
        for lease in leases {
            match self.lease(lease) {
                Ok(found) => leased.push(found),
                Err(error) if is_unreadable(&error) => self.give_up(&lease, &error, now)?,
                Err(error) => return Err(error),
            }
        }
        Ok(Claimed { leased, next_due: self.queue.next_due(), more: self.queue.has_due() })
    }

    /// Discards a job that was just claimed and whose payload is lost: it alone can never run, and
    /// the others go on.
    fn give_up(
        &mut self,
        lease: &Lease,
        cause: &rusqlite::Error,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let id = lease.job;
        tracing::error!(
            job = %id,
            %cause,
            "the payload of a job cannot be read, so the job is discarded: the job store is damaged; \
             submit the job again, and look after the disk"
        );
        let Some(running) = self.queue.lifecycle(id).cloned() else { return Ok(()) };
        let message = format!("its payload cannot be read from the job store: {cause}");
        let error = AttemptError::new("payload_lost", message);
        let outcome = Outcome::Refused { error, transient: false };
        let record = AttemptRecord::new(&running, &outcome, Usage::default(), now);
        let Some(over) = self.queue.finish(lease, Verdict::Discard, now) else { return Ok(()) };
        self.transition(id, &over, Some(&record))?;
        if let Some(job) = reader::job(&self.db, id)? {
            telemetry::discarded(&job, record.error.as_ref());
        }
        Ok(())
    }

    fn lease(&self, lease: Lease) -> rusqlite::Result<Leased> {
        if let Some(lifecycle) = self.queue.lifecycle(lease.job) {
            table::update(&self.db, lease.job, lifecycle)?;
        }
        table::leased(&self.db, lease)
    }

    /// See [`JobStore::renew`](jobwright_core::JobStore::renew).
    pub(super) fn renew(
        &mut self,
        leases: &[Lease],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Vec<Renewal> {
        self.pass_time(now);
        leases.iter().map(|lease| self.queue.renew(lease, expires_at, now)).collect()
    }

    /// See [`JobStore::finish`](jobwright_core::JobStore::finish).
    pub(super) fn finish(&mut self, end: &Finish, now: Timestamp) -> rusqlite::Result<Finished> {
        self.pass_time(now);
        let id = end.lease.job;
        self.save_told(&end.lease, &end.kept())?;
        let Some(lifecycle) = self.queue.finish(&end.lease, end.verdict, now) else {
            return Ok(Finished::LeaseLost);
        };
        self.keep_output(end, lifecycle.state)?;
        self.transition(id, &lifecycle, Some(&end.record))?;
        self.grow(end.output.as_ref().map_or(0, |output| output.bytes.len() as u64))?;
        Ok(Finished::Recorded(lifecycle.state))
    }

    /// See [`JobStore::save_told`](jobwright_core::JobStore::save_told).
    pub(super) fn save_told(&mut self, lease: &Lease, told: &Told) -> rusqlite::Result<()> {
        if self.queue.holds(lease) { self.keep_told(lease, told) } else { Ok(()) }
    }

    /// See [`JobStore::request_cancel`](jobwright_core::JobStore::request_cancel).
    pub(super) fn request_cancel(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> rusqlite::Result<Option<CancelRequest>> {
        self.pass_time(now);
        if let Some((answer, lifecycle)) = self.queue.request_cancel(id, now) {
            self.transition(id, &lifecycle, None)?;
            return Ok(Some(answer));
        }
        Ok(reader::job(&self.db, id)?.map(|mut job| job.lifecycle.request_cancel(now)))
    }

    /// See [`JobStore::redrive`](jobwright_core::JobStore::redrive).
    pub(super) fn redrive(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Redriven>> {
        self.pass_time(now);
        if let Some((answer, lifecycle)) = self.queue.redrive(id, now) {
            self.transition(id, &lifecycle, None)?;
            return Ok(Some(match answer {
                Redrive::Due => Redriven::Due,
                Redrive::Running => Redriven::Running,
            }));
        }
        let Some(mut job) = reader::job(&self.db, id)? else { return Ok(None) };
        let held_bytes = job.spec.held_bytes(table::payload_bytes(&self.db, id)?);
        let permit = match self.capacity.reserve(&(&job.spec).into(), held_bytes, Side::Due) {
            Ok(permit) => permit,
            Err(full) => return Ok(Some(Redriven::QueueFull(full))),
        };
        let has_completed = job.has_completed();
        job.lifecycle.redrive(now);
        self.last_seq += 1;
        self.history.remove(table::revive(&self.db, self.last_seq, id, &job.lifecycle)?);
        self.keep_earlier_output(&job, has_completed)?;
        self.queue.insert(id, Entry::new(&job.spec, job.lifecycle, permit), now);
        Ok(Some(Redriven::Due))
    }

    /// See [`JobStore::reclaim_expired`](jobwright_core::JobStore::reclaim_expired).
    pub(super) fn reclaim_expired(
        &mut self,
        now: Timestamp,
        most: usize,
    ) -> rusqlite::Result<Vec<JobId>> {
        self.pass_time(now);
        let expired = self.queue.expired(now, most);
        for id in &expired {
            let Some(running) = self.queue.lifecycle(*id).cloned() else { continue };
            if let Some(lifecycle) = self.queue.reclaim(*id, now) {
                let lost = AttemptRecord::new(&running, &Outcome::Lost, Usage::default(), now);
                self.transition(*id, &lifecycle, Some(&lost))?;
            }
        }
        Ok(expired)
    }

    /// See [`JobStore::counts`](jobwright_core::JobStore::counts).
    pub(super) fn counts(&mut self, now: Timestamp) -> Vec<QueueCounts> {
        self.pass_time(now);
        self.queue.counts(now, &self.capacity.limits())
    }

    /// See [`JobStore::set_held`](jobwright_core::JobStore::set_held).
    pub(super) fn set_held(&mut self, hold: Hold, note: Option<HoldNote>) -> rusqlite::Result<()> {
        table::set_held(&self.db, &hold, note.as_ref())?;
        self.queue.set_held(hold.clone(), note.is_some());
        match note {
            Some(note) => drop(self.holds.insert(hold, note)),
            None => drop(self.holds.remove(&hold)),
        }
        Ok(())
    }

    /// See [`JobStore::holds`](jobwright_core::JobStore::holds).
    pub(super) fn holds(&self) -> BTreeMap<Hold, HoldNote> {
        self.holds.clone()
    }

    /// See [`JobStore::cancel_covered`](jobwright_core::JobStore::cancel_covered).
    pub(super) fn cancel_covered(
        &mut self,
        hold: &Hold,
        now: Timestamp,
        most: usize,
    ) -> rusqlite::Result<Vec<(JobId, CancelRequest)>> {
        let covered = self.queue.covered(hold, most).into_iter();
        let cancel = |id| Ok(self.request_cancel(id, now)?.map(|answer| (id, answer)));
        covered.map(cancel).filter_map(Result::transpose).collect()
    }

    /// See [`JobStore::set_tenant`](jobwright_core::JobStore::set_tenant).
    pub(super) fn set_tenant(
        &mut self,
        tenant: &TenantName,
        limits: TenantLimits,
    ) -> rusqlite::Result<()> {
        table::set_tenant(&self.db, tenant, &limits)?;
        self.capacity.bound(tenant, limits);
        self.queue.bound(tenant, limits.running);
        Ok(())
    }

    /// See [`JobStore::prune`](jobwright_core::JobStore::prune); answers also which jobs went, now
    /// and to make room since it was last called.
    pub(super) fn prune(
        &mut self,
        retention: Retention,
        most: usize,
    ) -> rusqlite::Result<(usize, Vec<JobId>)> {
        let pruned = self.history.prune(&self.db, retention, most)?;
        self.keys = table::keys(&self.db)?;
        self.trim()?;
        Ok((pruned.len(), std::mem::take(&mut self.trimmed).into_iter().chain(pruned).collect()))
    }
}
