//! The ledger rebuilt from durable rows: when a store is opened, and after a transaction was rolled back.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use super::history::History;
use super::rows::Rows;
use super::state::Ledger;
use crate::capacity::{Capacity, Checkpoints, HeldBytes, HeldKeys};
use crate::change::Position;
use crate::clock::Timestamp;
use crate::hold::{Hold, HoldNote};
use crate::job::Job;
use crate::queue::{Entry, Holder, Queue};
use crate::tenant::{TenantLimits, TenantName};

/// Rows that outlive the process.
pub trait DurableRows: Rows {
    /// Reads the stored state; calls `each` with every unfinished job, in the order of arrival.
    ///
    /// # Errors
    /// If it cannot be read.
    fn load(&mut self, each: &mut dyn FnMut(FoundJob)) -> Result<Found, Self::Error>;

    /// Converts the times of unfinished jobs from the clock of the previous host to that of a host
    /// that starts at `now`, whose clock starts with the wall clock. Jobs that were due stay due,
    /// also if the clock was set back meanwhile; the others wait for the wall clock.
    ///
    /// # Errors
    /// If they cannot be written.
    fn take_over_times(&mut self, before: &HostRow, now: Timestamp) -> Result<(), Self::Error>;

    /// Writes the rows of every commit.
    ///
    /// # Errors
    /// If it cannot be written.
    fn seal(&mut self, commit: &Commit) -> Result<(), Self::Error>;

    /// Removes the holders, which hold no lease any more.
    ///
    /// # Errors
    /// If they cannot be removed.
    fn forget_holders(&mut self) -> Result<(), Self::Error>;
}

/// What belongs to every commit.
#[derive(Debug)]
pub struct Commit {
    /// What is known of the host.
    pub host: HostRow,
    /// The shares of the history that changed.
    pub shares: Vec<(TenantName, u64)>,
    /// The hosts with new signs of life or finished attempts. Those without a row hold no lease, and need none.
    pub holders: Vec<Holder>,
}

/// The facts about the host that uses a store, or used it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostRow {
    /// The time of its latest commit.
    pub alive_at: Timestamp,
    /// How many attempts it and the hosts before it finished.
    pub finished: u64,
    /// How far the wall clock was ahead of its own then.
    pub ahead: SignedDuration,
    /// The row number of the latest job that arrived.
    pub last_row: u64,
    /// The position of its latest change.
    pub position: Position,
    /// The highest position among the jobs that were removed.
    pub pruned: Position,
}

/// An unfinished job in the rows.
#[derive(Debug)]
pub struct FoundJob {
    /// The job.
    pub job: Job,
    /// Its row number.
    pub row: u64,
    /// How many bytes its payload has.
    pub payload_bytes: u64,
    /// How many bytes its checkpoint has, if there is one.
    pub checkpoint_bytes: Option<u64>,
}

/// The stored state without unfinished jobs.
#[derive(Debug)]
pub struct Found {
    /// The host that used the store last.
    pub host: HostRow,
    /// The hosts that hold leases, or held some.
    pub holders: Vec<Holder>,
    /// The holds.
    pub holds: BTreeMap<Hold, HoldNote>,
    /// The tenants that have limits of their own.
    pub tenants: Vec<(TenantName, TenantLimits)>,
    /// The size of the keys in use.
    pub keys: HeldKeys,
    /// The size of the history by tenant.
    pub history: HeldBytes,
}

impl<R: DurableRows> Ledger<R> {
    /// Loads the state of the previous host and reclaims its running jobs; returns their number.
    /// The caller begins and commits the transaction.
    ///
    /// # Errors
    /// As the rows.
    pub fn open(&mut self, before: &HostRow) -> Result<usize, R::Error> {
        self.rows.take_over_times(before, self.now)?;
        let queue = Queue::new(self.capacity.limits().head_start, self.now);
        self.load(queue, Timestamp::MIN)?;
        self.position = Position::start_of(before.position.writer() + 1);
        let reclaimed = self.reclaim_expired(self.now, usize::MAX)?;
        self.queue.forget_hosts();
        self.rows.forget_holders()?;
        self.seal()?;
        Ok(reclaimed.len())
    }

    /// Loads the committed state after a transaction was rolled back. Attempts continued meanwhile;
    /// the heartbeat sets the ends of their leases.
    ///
    /// # Errors
    /// As the rows.
    pub fn reload(&mut self) -> Result<(), R::Error> {
        let position = self.position;
        self.load(self.queue.emptied(), Timestamp::MAX)?;
        self.queue.all_alive(self.now);
        // Positions that were rolled back are not used again.
        self.position = position.max(self.position);
        Ok(())
    }

    /// Writes what belongs to every commit, at the end of its transaction.
    ///
    /// # Errors
    /// As the rows.
    pub fn seal(&mut self) -> Result<(), R::Error> {
        let host = HostRow {
            alive_at: self.now,
            finished: self.queue.finished(),
            ahead: self.queue.ahead(),
            last_row: self.last_row,
            position: self.position,
            pruned: self.pruned,
        };
        let (shares, holders) = (self.history.take_changed(), self.queue.take_signs_of_life());
        self.rows.seal(&Commit { host, shares, holders })
    }

    /// Loads the jobs into `queue`. The leases of those that are running hold until `expires_at`.
    fn load(&mut self, mut queue: Queue, expires_at: Timestamp) -> Result<(), R::Error> {
        let (mut checkpoints, mut outputs) = (Checkpoints::default(), Checkpoints::default());
        let capacity = self.capacity.clone();
        let mut jobs = Vec::new();
        let found = self.rows.load(&mut |found| {
            let (job, tenant) = (&found.job, &found.job.spec.tenant);
            if let Some(output) = &job.output {
                outputs.admit(tenant, job.id, output.bytes, u64::MAX);
            }
            if let Some(bytes) = found.checkpoint_bytes {
                checkpoints.admit(tenant, job.id, bytes, u64::MAX);
            }
            jobs.push((job.id, entry(&capacity, found)));
        })?;
        // Before the jobs, so that each is placed once.
        for hold in found.holds.keys() {
            queue.set_held(hold.clone(), true);
        }
        for (tenant, limits) in found.tenants {
            self.capacity.bound(&tenant, limits);
            queue.bound(&tenant, limits.running);
        }
        found.holders.iter().for_each(|holder| queue.restore_holder(holder));
        for (id, entry) in jobs {
            queue.restore(id, entry, expires_at);
        }
        queue.count_on(found.host.finished);
        (self.queue, self.checkpoints, self.failed_outputs) = (queue, checkpoints, outputs);
        (self.holds, self.keys) = (found.holds, found.keys);
        (self.last_row, self.position) = (found.host.last_row, found.host.position);
        self.pruned = found.host.pruned;
        self.history = History::new(found.history);
        self.changes.clear();
        Ok(())
    }
}

/// The queue's entry of a job, which has a place whether or not there is room.
fn entry(capacity: &Arc<Capacity>, found: FoundJob) -> Entry {
    let FoundJob { job, row, payload_bytes, .. } = found;
    let permit = capacity.readmit(&(&*job.spec).into(), job.spec.held_bytes(payload_bytes));
    Entry {
        permit,
        priority: job.spec.priority,
        memory_bytes: job.spec.limits.host_bytes(),
        payload_bytes,
        lifecycle: job.lifecycle,
        row,
    }
}
