//! The queue rebuilt from its rows: when the store is opened, and after a transaction was rolled back.

use jiff::SignedDuration;
use jobwright_core::capacity::Checkpoints;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::Facts;
use jobwright_core::lifecycle::JobState;
use jobwright_core::queue::{Entry, Holder, Queue};

use super::Ledger;
use crate::store::sqlite::history::History;
use crate::store::sqlite::reader;
use crate::store::sqlite::table::{self, HostRow};
use crate::store::sqlite::writer::State as _;
use crate::telemetry;

impl Ledger {
    /// Reclaims what was running when the store was last used; answers how many jobs.
    pub(super) fn take_back(&mut self, now: Timestamp) -> rusqlite::Result<usize> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let reclaimed = self.reclaim_expired(now, usize::MAX)?;
        self.seal()?;
        self.db.execute_batch("COMMIT")?;
        for id in &reclaimed {
            if let Some(job) = reader::job(&self.db, *id)?
                && job.lifecycle.state == JobState::Discarded
            {
                let error = job.attempts.last().and_then(|last| last.error.as_ref());
                telemetry::discarded(&job, error);
            }
        }
        Ok(reclaimed.len())
    }

    /// Loads what the host that used the store before has left; all its leases have expired.
    pub(super) fn load_after_death(&mut self) -> rusqlite::Result<()> {
        let before = table::host(&self.db)?;
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        table::take_over_times(&self.db, before, self.now)?;
        table::set_host(&self.db, HostRow { ahead: SignedDuration::ZERO, ..before })?;
        self.db.execute_batch("COMMIT")?;
        let queue = Queue::new(self.capacity.limits().head_start, self.now);
        self.load(queue, Holder { expires_at: Timestamp::MIN, alive_at: before.alive_at })
    }

    /// Loads the jobs into `queue`, of which `holder` holds those that are running.
    pub(super) fn load(&mut self, mut queue: Queue, holder: Holder) -> rusqlite::Result<()> {
        // First, so that each job is placed once.
        let holds = table::holds(&self.db)?;
        for hold in holds.keys() {
            queue.set_held(hold.clone(), true);
        }
        let mut failed_outputs = Checkpoints::default();
        table::for_each_unfinished(&self.db, |job, payload_bytes| {
            if let Some(output) = &job.output {
                failed_outputs.admit(&job.spec.tenant, job.id, output.bytes, u64::MAX);
            }
            let facts = Facts::from(&job.spec);
            let permit = self.capacity.readmit(&facts, job.spec.held_bytes(payload_bytes));
            queue.restore(job.id, Entry::new(&job.spec, job.lifecycle, permit), holder);
        })?;
        queue.count_on(table::host(&self.db)?.finished);
        for (tenant, limits) in table::tenants(&self.db)? {
            self.capacity.bound(&tenant, limits);
            queue.bound(&tenant, limits.running);
        }
        let mut checkpoints = Checkpoints::default();
        table::for_each_checkpoint(&self.db, |id, tenant, length| {
            checkpoints.admit(tenant, id, length, u64::MAX);
        })?;
        self.last_seq = table::last_seq(&self.db)?;
        self.keys = table::keys(&self.db)?;
        self.history = History::load(&self.db)?;
        (self.queue, self.checkpoints, self.trimmed) = (queue, checkpoints, vec![]);
        (self.failed_outputs, self.holds) = (failed_outputs, holds);
        Ok(())
    }
}
