//! The commands, but for those that end attempts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::attempt::Lease;
use crate::capacity::{Capacity, Checkpoints, HeldKeys, Permit, QueueFull, Side};
use crate::change::{Change, Event, JobEvent, Position, Transition};
use crate::clock::Timestamp;
use crate::hold::{Hold, HoldNote};
use crate::job::{CancelRequest, Redrive};
use crate::job::{JobId, NewJob};
use crate::queue::{Entry, Queue, QueueCounts, Standing};
use crate::store::{Claim, Claimed, Enqueued, Redriven, Renewal, Retention};
use crate::tenant::{TenantLimits, TenantName};

use super::history::History;
use super::rows::{Place, RowChange, Rows};

/// See [the module](super).
#[derive(Debug)]
pub struct Ledger<R> {
    pub(super) rows: R,
    pub(super) queue: Queue,
    pub(super) capacity: Arc<Capacity>,
    /// The latest time that a command brought.
    pub(super) now: Timestamp,
    pub(super) holds: BTreeMap<Hold, HoldNote>,
    /// What the answers to idempotency keys take.
    pub(super) keys: HeldKeys,
    pub(super) checkpoints: Checkpoints,
    /// What failed attempts at unfinished jobs left, which is counted as checkpoints are.
    pub(super) failed_outputs: Checkpoints,
    pub(super) history: History,
    /// The row number of the latest job that arrived.
    pub(super) last_row: u64,
    pub(super) position: Position,
    /// The highest position among the jobs that were removed.
    pub(super) pruned: Position,
    /// Changes that are not published yet.
    pub(super) changes: Vec<Change>,
}

/// A job to be enqueued with its place, if there was one; `None` to take one only when its turn comes.
#[derive(Debug)]
pub struct Admission {
    /// The job.
    pub job: NewJob,
    /// Its place.
    pub permit: Option<Result<Permit, QueueFull>>,
}

impl<R: Rows> Ledger<R> {
    /// A ledger of no jobs.
    #[must_use]
    pub fn new(rows: R, capacity: Arc<Capacity>, now: Timestamp) -> Self {
        let queue = Queue::new(capacity.limits().head_start, now);
        Self {
            rows,
            queue,
            capacity,
            now,
            holds: BTreeMap::new(),
            keys: HeldKeys::default(),
            checkpoints: Checkpoints::default(),
            failed_outputs: Checkpoints::default(),
            history: History::default(),
            last_row: 0,
            position: Position::default(),
            pruned: Position::default(),
            changes: vec![],
        }
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &R {
        &self.rows
    }

    /// The rows, for what is not a matter of the ledger.
    pub fn rows_mut(&mut self) -> &mut R {
        &mut self.rows
    }

    /// The position of the latest change.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The highest position among the jobs that were removed. A subscriber that saw no later change may
    /// have missed how one of them ended.
    #[must_use]
    pub fn pruned(&self) -> Position {
        self.pruned
    }

    /// How many unfinished jobs there are.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.queue.len()
    }

    /// The changes since this was last called, in order. Publish them after the commit.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Brings the present time.
    pub fn pass_time(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.queue.pass_time(now);
    }

    /// See [`JobStore::enqueue`](crate::store::JobStore::enqueue).
    ///
    /// # Errors
    /// As the rows.
    pub fn enqueue(
        &mut self,
        jobs: Vec<Admission>,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>, R::Error> {
        jobs.into_iter().map(|admission| self.enqueue_one(admission, now)).collect()
    }

    fn enqueue_one(&mut self, admission: Admission, now: Timestamp) -> Result<Enqueued, R::Error> {
        let Admission { job, permit } = admission;
        if let Some(key) = &job.idempotency
            && let Some(answered) = self.rows.answered(&key.key, key.fingerprint, now)?
        {
            return Ok(answered);
        }
        if let Err(full) = self.room_for_key(&job) {
            return Ok(Enqueued::QueueFull(full));
        }
        self.pass_time(now);
        let (held_bytes, side) = (job.held_bytes(), job.side(now));
        let reserve = || self.capacity.reserve(&(&job.spec).into(), held_bytes, side);
        let permit = match permit.unwrap_or_else(reserve) {
            Ok(permit) => permit,
            Err(full) => return Ok(Enqueued::QueueFull(full)),
        };
        if let Some(key) = &job.idempotency {
            self.rows.remember(job.id, key)?;
            self.keys.add(key.tenant(), key.bytes());
        }
        let id = job.id;
        let entry = Entry {
            labels: (&job.spec).into(),
            priority: job.spec.priority,
            memory_bytes: job.spec.limits.host_bytes(),
            payload_bytes: job.payload.bytes.len() as u64,
            lifecycle: job.lifecycle(now),
            row: self.next_row(),
            permit,
        };
        let position = self.change(id, &entry.standing(), Transition::Enqueued);
        let at = Place { row: entry.row, position, now };
        self.rows.insert(at, job, &entry.lifecycle)?;
        self.queue.insert(id, entry, now);
        self.grow(held_bytes)?;
        Ok(Enqueued::Inserted)
    }

    fn room_for_key(&self, job: &NewJob) -> Result<(), QueueFull> {
        let Some(key) = &job.idempotency else { return Ok(()) };
        let (tenant, kept) = (&job.spec.tenant, self.capacity.limits().kept);
        self.keys.check((tenant, self.capacity.tenant(tenant)), key.bytes(), kept)
    }

    /// See [`JobStore::claim`](crate::store::JobStore::claim).
    ///
    /// # Errors
    /// As the rows.
    pub fn claim(&mut self, want: &Claim, now: Timestamp) -> Result<Claimed, R::Error> {
        self.pass_time(now);
        let leases = self.queue.claim(want, now);
        self.write_fallen_due()?;
        let mut leased = Vec::with_capacity(leases.len());
        for lease in leases {
            let Some(standing) = self.queue.standing(lease.job) else { continue };
            let position = self.change(lease.job, &standing, Transition::Started);
            let change = RowChange::new(standing.row, lease.job, position, &standing.lifecycle);
            self.rows.write(&change)?;
            match self.rows.leased(standing.row, lease)? {
                Ok(mut found) => {
                    found.job.lifecycle = standing.lifecycle;
                    leased.push(found);
                }
                Err(unreadable) => self.give_up(&lease, &unreadable, now)?,
            }
        }
        Ok(Claimed { leased, next_due: self.queue.next_due(), more: self.queue.has_due() })
    }

    /// Writes that jobs are due whose time came by the wall clock, wherever that is set afterwards.
    fn write_fallen_due(&mut self) -> Result<(), R::Error> {
        for id in self.queue.take_fallen_due() {
            if let Some(standing) = self.queue.standing(id) {
                let position = self.position;
                let change = RowChange::new(standing.row, id, position, &standing.lifecycle);
                self.rows.write(&change)?;
            }
        }
        Ok(())
    }

    /// See [`JobStore::renew`](crate::store::JobStore::renew).
    pub fn renew(
        &mut self,
        leases: &[Lease],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Vec<Renewal> {
        self.pass_time(now);
        leases.iter().map(|lease| self.queue.renew(lease, expires_at, now)).collect()
    }

    /// See [`JobStore::request_cancel`](crate::store::JobStore::request_cancel).
    ///
    /// # Errors
    /// As the rows.
    pub fn request_cancel(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> Result<Option<CancelRequest>, R::Error> {
        self.pass_time(now);
        let Some((answer, standing)) = self.queue.request_cancel(id, now) else {
            let found = self.rows.job(id)?;
            return Ok(found.map(|(mut job, _)| job.lifecycle.request_cancel(now)));
        };
        self.moved(id, &standing, None)?;
        Ok(Some(answer))
    }

    /// See [`JobStore::cancel_covered`](crate::store::JobStore::cancel_covered).
    ///
    /// # Errors
    /// As the rows.
    pub fn cancel_covered(
        &mut self,
        hold: &Hold,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<(JobId, CancelRequest)>, R::Error> {
        let covered = self.queue.covered(hold, most).into_iter();
        let cancel = |id| Ok(self.request_cancel(id, now)?.map(|answer| (id, answer)));
        covered.map(cancel).filter_map(Result::transpose).collect()
    }

    /// See [`JobStore::redrive`](crate::store::JobStore::redrive).
    ///
    /// # Errors
    /// As the rows.
    pub fn redrive(&mut self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, R::Error> {
        self.pass_time(now);
        let Some((answer, standing)) = self.queue.redrive(id, now) else {
            return self.revive(id, now);
        };
        match answer {
            Redrive::Running => Ok(Some(Redriven::Running)),
            Redrive::Due => {
                self.moved(id, &standing, None)?;
                Ok(Some(Redriven::Due))
            }
        }
    }

    /// Makes a finalized job due again.
    fn revive(&mut self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, R::Error> {
        let Some((mut job, payload_bytes)) = self.rows.job(id)? else { return Ok(None) };
        let held_bytes = job.spec.held_bytes(payload_bytes);
        let labels = (&job.spec).into();
        let permit = match self.capacity.reserve(&labels, held_bytes, Side::Due) {
            Ok(permit) => permit,
            Err(full) => return Ok(Some(Redriven::QueueFull(full))),
        };
        let output_bytes = job.output.as_ref().map_or(0, |output| output.bytes);
        self.history.remove(&labels.tenant, payload_bytes + output_bytes);
        let has_completed = job.has_completed();
        job.lifecycle.redrive(now);
        let entry = Entry {
            labels,
            priority: job.spec.priority,
            memory_bytes: job.spec.limits.host_bytes(),
            payload_bytes,
            lifecycle: job.lifecycle.clone(),
            row: self.next_row(),
            permit,
        };
        let standing = entry.standing();
        let position = self.change(id, &standing, Transition::Waiting);
        self.rows.revive(Place { row: entry.row, position, now }, id, &entry.lifecycle)?;
        self.queue.insert(id, entry, now);
        self.keep_earlier_output(&job, &standing, has_completed)?;
        Ok(Some(Redriven::Due))
    }

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
        self.queue.set_held(hold.clone(), note.is_some());
        self.note(Event::Hold(hold.clone(), note.is_some()));
        match note {
            Some(note) => drop(self.holds.insert(hold, note)),
            None => drop(self.holds.remove(&hold)),
        }
        Ok(())
    }

    /// See [`Controls::holds`](crate::store::Controls::holds).
    #[must_use]
    pub fn holds(&self) -> &BTreeMap<Hold, HoldNote> {
        &self.holds
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

    /// See [`JobStore::prune`](crate::store::JobStore::prune); returns also which jobs went, now and to
    /// make room since it was last called.
    ///
    /// # Errors
    /// As the rows.
    pub fn prune(
        &mut self,
        retention: &Retention,
        most: usize,
    ) -> Result<(usize, Vec<JobId>), R::Error> {
        self.keys = self.rows.forget_keys(retention.now, most)?;
        let expired = self.rows.expired(retention, most)?;
        self.remove(&expired)?;
        self.trim()?;
        Ok((expired.len(), self.history.take_removed()))
    }

    /// A queue for tests that hold a durable store against one in memory: it forgets what the queue of a
    /// host that is started again does not know.
    pub fn restart(&mut self) -> Result<(), R::Error> {
        self.queue.restart();
        for id in self.queue.ids() {
            let Some(standing) = self.queue.standing(id) else { continue };
            let (row, lifecycle) = (standing.row, &standing.lifecycle);
            self.rows.write(&RowChange::new(row, id, self.position, lifecycle))?;
        }
        Ok(())
    }

    fn next_row(&mut self) -> u64 {
        self.last_row += 1;
        self.last_row
    }

    /// Notes what became of a job; returns the position of the change.
    pub(super) fn change(
        &mut self,
        job: JobId,
        standing: &Standing,
        transition: Transition,
    ) -> Position {
        let (labels, attempt) = (standing.labels.clone(), standing.lifecycle.attempt);
        self.note(Event::Job(JobEvent { job, labels, attempt, transition }))
    }

    fn note(&mut self, event: Event) -> Position {
        self.position = self.position.next();
        self.changes.push(Change { position: self.position, at: self.now, event });
        self.position
    }
}
