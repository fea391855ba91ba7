//! The queue with its rows under it: every method changes both, inside the writer's transaction.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use jobwright_core::attempt::{AttemptRecord, Lease};
use jobwright_core::capacity::{Capacity, Checkpoints, HeldKeys, Permit, QueueFull};
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Facts, Hold};
use jobwright_core::job::{JobId, NewJob};
use jobwright_core::lifecycle::{CancelRequest, JobState, Lifecycle, Redrive};
use jobwright_core::outcome::{AttemptError, Outcome, Usage};
use jobwright_core::queue::{Entry, Queue, QueueCounts};
use jobwright_core::report::Told;
use jobwright_core::retry::Verdict;
use jobwright_core::store::{
    Claim, Claimed, Enqueued, Finish, Finished, Leased, Redriven, Renewal, Retention, StoreError,
};
use jobwright_core::tenant::{TenantLimits, TenantName};
use rusqlite::Connection;

use super::wal::{self, Damage};
use super::writer::State;
use super::{reader, schema, table};
use crate::disk::Floor;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Ledger {
    db: Connection,
    queue: Queue,
    capacity: Arc<Capacity>,
    floor: Floor,
    /// The `seq` of the job that was enqueued or redriven last; also the order of arrival.
    last_seq: i64,
    checkpoints: Checkpoints,
    /// What the answers to idempotency keys take.
    keys: HeldKeys,
    /// About what was written since the history was last measured.
    grown_bytes: u64,
    /// Jobs that went to make room and whose logs are still there.
    trimmed: Vec<JobId>,
}

/// How much is written between two looks at how much there is.
const MEASURE_BYTES: u64 = 1 << 20;

/// What a job takes beside its payload and output: at least a page.
const JOB_BYTES: u64 = 4096;

/// Jobs that go at a time to make room: few, as they may be large.
const TRIM: usize = 8;

/// The part of the floor at which finished jobs and checkpoints give way. Logs and compiled code, which
/// are missed less, give way at all of it.
const LATER: u64 = 2;

/// How often in a row: then as many go as may have come since the last look, some times over.
const TRIMS: usize = 128;

/// A job to be enqueued with its place, if there was one; `None` to take one only when its turn
/// comes.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) job: NewJob,
    pub(super) permit: Option<Result<Permit, QueueFull>>,
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

    fn reload(&mut self) -> rusqlite::Result<()> {
        // Attempts went on while the store was away; the heartbeat sets the ends of their leases.
        self.load(Timestamp::MAX)
    }
}

impl Ledger {
    /// Opens or makes the database, rebuilds the queue from its rows and reclaims what was running.
    pub(super) fn open(
        path: &Path,
        capacity: Arc<Capacity>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
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
        let (queue, checkpoints) = (Queue::new(), Checkpoints::default());
        let floor = Floor::new(path, capacity.limits().kept.free_bytes / LATER);
        let mut ledger = Self {
            db,
            queue,
            capacity,
            floor,
            last_seq: 0,
            checkpoints,
            keys: HeldKeys::default(),
            grown_bytes: 0,
            trimmed: vec![],
        };
        ledger
            .load(now)
            .with_context(|| format!("cannot read the job store {}", path.display()))?;
        let reclaimed = ledger
            .take_back(now)
            .with_context(|| format!("cannot write the job store {}", path.display()))?;
        tracing::info!(unfinished = ledger.queue.len(), reclaimed, "opened the job store");
        Ok(ledger)
    }

    /// Reclaims what was running when the store was last used; answers how many jobs.
    fn take_back(&mut self, now: Timestamp) -> rusqlite::Result<usize> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let reclaimed = self.reclaim_expired(now, usize::MAX)?;
        self.db.execute_batch("COMMIT")?;
        Ok(reclaimed.len())
    }

    fn load(&mut self, expires_at: Timestamp) -> rusqlite::Result<()> {
        let mut queue = Queue::new();
        table::for_each_unfinished(&self.db, |job, payload_bytes| {
            let facts = Facts::from(&job.spec);
            let permit = self.capacity.readmit(&facts, job.spec.held_bytes(payload_bytes));
            queue.insert(job.id, Entry::new(&job.spec, job.lifecycle, permit), expires_at);
        })?;
        for hold in table::holds(&self.db)? {
            queue.set_held(hold, true);
        }
        for (tenant, limits) in table::tenants(&self.db)? {
            self.capacity.bound(&tenant, limits);
            queue.bound(&tenant, limits.running);
        }
        let mut checkpoints = Checkpoints::default();
        table::for_each_checkpoint(&self.db, |id, length| {
            checkpoints.admit(id, length, u64::MAX);
        })?;
        self.last_seq = table::last_seq(&self.db)?;
        self.keys = table::keys(&self.db)?;
        (self.queue, self.checkpoints, self.trimmed) = (queue, checkpoints, vec![]);
        Ok(())
    }

    /// Counts what is written; now and then removes the oldest of the history if there is too much.
    fn grow(&mut self, bytes: u64) -> rusqlite::Result<()> {
        self.grown_bytes += bytes + JOB_BYTES;
        if self.grown_bytes < MEASURE_BYTES { Ok(()) } else { self.trim() }
    }

    fn trim(&mut self) -> rusqlite::Result<()> {
        let grown = std::mem::take(&mut self.grown_bytes);
        // What waits and what is promised is bounded apart, and must not cost the history its place.
        let apart = self.capacity.held_bytes() + self.checkpoints.bytes() + self.keys.bytes();
        let mut most = self.capacity.limits().kept.history_bytes.saturating_add(apart);
        if self.floor.is_reached() {
            // In the file there is then room for as much again as has come: it need not grow.
            most = most.min(table::file_bytes(&self.db)?.saturating_sub(grown));
        }
        for _ in 0..TRIMS {
            if table::used_bytes(&self.db)? <= most {
                break;
            }
            let gone = table::prune_oldest(&self.db, TRIM)?;
            if gone.is_empty() {
                break;
            }
            self.trimmed.extend(gone);
        }
        Ok(())
    }

    fn keep_told(&mut self, id: JobId, told: &Told) -> rusqlite::Result<()> {
        let most = self.capacity.limits().kept.checkpoint_bytes;
        let floor = &self.floor;
        let fits = |state: &Bytes| {
            !floor.is_reached() && self.checkpoints.admit(id, state.len() as u64, most)
        };
        if told.checkpoint.as_ref().is_none_or(fits) {
            return table::keep_told(&self.db, id, told);
        }
        tracing::warn!(job = %id, "a checkpoint is not kept: there are too many, or too little disk");
        table::keep_told(&self.db, id, &Told { checkpoint: None, ..told.clone() })
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
        }
        table::transition(&self.db, id, lifecycle, ended)
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
        let held_bytes = job.held_bytes();
        let reserve = || self.capacity.reserve(&(&job.spec).into(), held_bytes);
        let permit = match permit.unwrap_or_else(reserve) {
            Ok(permit) => permit,
            Err(full) => return Ok(Enqueued::QueueFull(full)),
        };
        let lifecycle = Lifecycle::new(job.scheduled_at.max(now));
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
        let leases = self.queue.claim(want, now);
        let mut leased = Vec::with_capacity(leases.len());
        for lease in leases {
            match self.lease(lease) {
                Ok(found) => leased.push(found),
                Err(error) if is_unreadable(&error) => self.give_up(&lease, &error, now)?,
                Err(error) => return Err(error),
            }
        }
        Ok(Claimed { leased, next_due: self.queue.next_due() })
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
        let over = self.queue.finish(lease, Verdict::Discard, now);
        over.map_or(Ok(()), |lifecycle| self.transition(id, &lifecycle, Some(&record)))
    }

    fn lease(&self, lease: Lease) -> rusqlite::Result<Leased> {
        if let Some(lifecycle) = self.queue.lifecycle(lease.job) {
            table::update(&self.db, lease.job, lifecycle)?;
        }
        table::leased(&self.db, lease)
    }

    /// See [`JobStore::renew`](jobwright_core::JobStore::renew).
    pub(super) fn renew(&mut self, leases: &[Lease], expires_at: Timestamp) -> Vec<Renewal> {
        leases.iter().map(|lease| self.queue.renew(lease, expires_at)).collect()
    }

    /// See [`JobStore::finish`](jobwright_core::JobStore::finish).
    pub(super) fn finish(&mut self, end: &Finish, now: Timestamp) -> rusqlite::Result<Finished> {
        let id = end.lease.job;
        let Some(lifecycle) = self.queue.finish(&end.lease, end.verdict, now) else {
            return Ok(Finished::LeaseLost);
        };
        if lifecycle.state == JobState::Completed
            && let Some(output) = &end.output
        {
            table::insert_output(&self.db, id, output)?;
        }
        let mut told = end.told.clone();
        if lifecycle.state.is_finalized() {
            // There is no attempt any more that could go on from it.
            told.checkpoint = None;
        }
        self.keep_told(id, &told)?;
        self.transition(id, &lifecycle, Some(&end.record))?;
        self.grow(end.output.as_ref().map_or(0, |output| output.bytes.len() as u64))?;
        Ok(Finished::Recorded(lifecycle.state))
    }

    /// See [`JobStore::save_told`](jobwright_core::JobStore::save_told).
    pub(super) fn save_told(&mut self, lease: &Lease, told: &Told) -> rusqlite::Result<()> {
        if self.queue.holds(lease) { self.keep_told(lease.job, told) } else { Ok(()) }
    }

    /// See [`JobStore::request_cancel`](jobwright_core::JobStore::request_cancel).
    pub(super) fn request_cancel(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> rusqlite::Result<Option<CancelRequest>> {
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
        if let Some((answer, lifecycle)) = self.queue.redrive(id, now) {
            self.transition(id, &lifecycle, None)?;
            return Ok(Some(match answer {
                Redrive::Due => Redriven::Due,
                Redrive::Running => Redriven::Running,
            }));
        }
        let Some(mut job) = reader::job(&self.db, id)? else { return Ok(None) };
        let held_bytes = job.spec.held_bytes(table::payload_bytes(&self.db, id)?);
        let permit = match self.capacity.reserve(&(&job.spec).into(), held_bytes) {
            Ok(permit) => permit,
            Err(full) => return Ok(Some(Redriven::QueueFull(full))),
        };
        job.lifecycle.redrive(now);
        self.last_seq += 1;
        table::revive(&self.db, self.last_seq, id, &job.lifecycle)?;
        self.queue.insert(id, Entry::new(&job.spec, job.lifecycle, permit), now);
        Ok(Some(Redriven::Due))
    }

    /// See [`JobStore::reclaim_expired`](jobwright_core::JobStore::reclaim_expired).
    pub(super) fn reclaim_expired(
        &mut self,
        now: Timestamp,
        most: usize,
    ) -> rusqlite::Result<Vec<JobId>> {
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
    pub(super) fn counts(&self, now: Timestamp, per_queue: usize) -> Vec<QueueCounts> {
        self.queue.counts(now, per_queue)
    }

    /// See [`JobStore::set_held`](jobwright_core::JobStore::set_held).
    pub(super) fn set_held(&mut self, hold: Hold, held: bool) -> rusqlite::Result<()> {
        table::set_held(&self.db, &hold, held)?;
        self.queue.set_held(hold, held);
        Ok(())
    }

    /// See [`JobStore::holds`](jobwright_core::JobStore::holds).
    pub(super) fn holds(&self) -> Vec<Hold> {
        self.queue.held()
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
        let pruned = table::prune(&self.db, retention, most)?;
        self.keys = table::keys(&self.db)?;
        self.trim()?;
        Ok((pruned.len(), std::mem::take(&mut self.trimmed).into_iter().chain(pruned).collect()))
    }
}
