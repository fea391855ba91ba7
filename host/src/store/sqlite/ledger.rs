//! The queue with its rows under it: every method changes both, inside the writer's transaction.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use jobwright_core::attempt::{AttemptRecord, Lease};
use jobwright_core::capacity::{Capacity, Permit, QueueFull};
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{JobId, NewJob, QueueName};
use jobwright_core::lifecycle::{CancelRequest, JobState, Lifecycle, Redrive};
use jobwright_core::outcome::{Outcome, Usage};
use jobwright_core::queue::{Entry, Queue, QueueCounts};
use jobwright_core::report::Told;
use jobwright_core::store::{
    Claim, Claimed, Enqueued, Finish, Finished, Leased, Redriven, Renewal, Retention,
};
use rusqlite::Connection;

use super::writer::State;
use super::{reader, schema, table};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Ledger {
    db: Connection,
    queue: Queue,
    capacity: Arc<Capacity>,
    /// The `seq` of the job that was enqueued or redriven last; also the order of arrival.
    last_seq: i64,
}

/// A job to be enqueued with its place, if there was one; `None` to take one only when its turn
/// comes.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) job: NewJob,
    pub(super) permit: Option<Result<Permit, QueueFull>>,
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
        let db = schema::open_jobs(path)?;
        let mut ledger = Self { db, queue: Queue::new(), capacity, last_seq: 0 };
        ledger
            .load(now)
            .with_context(|| format!("cannot read the job store {}", path.display()))?;
        ledger.db.execute_batch("BEGIN IMMEDIATE")?;
        let reclaimed = ledger.reclaim_expired(now, usize::MAX)?;
        ledger.db.execute_batch("COMMIT")?;
        let (unfinished, reclaimed) = (ledger.queue.len(), reclaimed.len());
        tracing::info!(unfinished, reclaimed, "opened the job store");
        Ok(ledger)
    }

    fn load(&mut self, expires_at: Timestamp) -> rusqlite::Result<()> {
        let mut queue = Queue::new();
        table::for_each_unfinished(&self.db, |job, payload_bytes| {
            let permit = self.capacity.readmit(&job.spec.queue, payload_bytes);
            queue.insert(job.id, Entry::new(&job.spec, job.lifecycle, permit), expires_at);
        })?;
        for name in table::paused(&self.db)? {
            queue.set_paused(&name, true);
        }
        self.last_seq = table::last_seq(&self.db)?;
        self.queue = queue;
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
        let bytes = job.payload.bytes.len() as u64;
        let permit = match permit.unwrap_or_else(|| self.capacity.reserve(&job.spec.queue, bytes)) {
            Ok(permit) => permit,
            Err(full) => return Ok(Enqueued::QueueFull(full)),
        };
        let lifecycle = Lifecycle::new(job.scheduled_at.max(now));
        self.last_seq += 1;
        table::insert(&self.db, self.last_seq, &job, &lifecycle, now)?;
        if let Some(key) = &job.idempotency {
            table::remember_key(&self.db, job.id, key)?;
        }
        self.queue.insert(job.id, Entry::new(&job.spec, lifecycle, permit), now);
        Ok(Enqueued::Inserted)
    }

    /// See [`JobStore::claim`](jobwright_core::JobStore::claim).
    pub(super) fn claim(&mut self, want: &Claim, now: Timestamp) -> rusqlite::Result<Claimed> {
        let leases = self.queue.claim(want, now);
        let leased = leases.into_iter().map(|lease| self.lease(lease)).collect::<Result<_, _>>()?;
        Ok(Claimed { leased, next_due: self.queue.next_due() })
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
        table::keep_told(&self.db, id, &told)?;
        table::transition(&self.db, id, &lifecycle, Some(&end.record))?;
        Ok(Finished::Recorded(lifecycle.state))
    }

    /// See [`JobStore::save_told`](jobwright_core::JobStore::save_told).
    pub(super) fn save_told(&mut self, lease: &Lease, told: &Told) -> rusqlite::Result<()> {
        if self.queue.holds(lease) { table::keep_told(&self.db, lease.job, told) } else { Ok(()) }
    }

    /// See [`JobStore::request_cancel`](jobwright_core::JobStore::request_cancel).
    pub(super) fn request_cancel(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> rusqlite::Result<Option<CancelRequest>> {
        if let Some((answer, lifecycle)) = self.queue.request_cancel(id, now) {
            table::transition(&self.db, id, &lifecycle, None)?;
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
            table::transition(&self.db, id, &lifecycle, None)?;
            return Ok(Some(match answer {
                Redrive::Due => Redriven::Due,
                Redrive::Running => Redriven::Running,
            }));
        }
        let Some(mut job) = reader::job(&self.db, id)? else { return Ok(None) };
        let payload_bytes = table::payload_bytes(&self.db, id)?;
        let permit = match self.capacity.reserve(&job.spec.queue, payload_bytes) {
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
                table::transition(&self.db, *id, &lifecycle, Some(&lost))?;
            }
        }
        Ok(expired)
    }

    /// See [`JobStore::counts`](jobwright_core::JobStore::counts).
    pub(super) fn counts(&self, now: Timestamp, per_queue: usize) -> Vec<QueueCounts> {
        self.queue.counts(now, per_queue)
    }

    /// See [`JobStore::set_paused`](jobwright_core::JobStore::set_paused).
    pub(super) fn set_paused(&mut self, queue: &QueueName, paused: bool) -> rusqlite::Result<()> {
        table::set_paused(&self.db, queue.as_str(), paused)?;
        self.queue.set_paused(queue, paused);
        Ok(())
    }

    /// See [`JobStore::prune`](jobwright_core::JobStore::prune); answers which jobs went.
    pub(super) fn prune(
        &mut self,
        retention: Retention,
        most: usize,
    ) -> rusqlite::Result<Vec<JobId>> {
        table::prune(&self.db, retention, most)
    }
}
