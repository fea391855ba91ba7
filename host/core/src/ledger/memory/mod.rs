//! Rows in memory: the simplest that keep all laws, against which those on disk are held.

mod logs;
mod stored;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use self::logs::Logs;
use self::stored::StoredJob;
use super::rows::{FinalizedRow, Place, Removable, RowChange, Rows, Unreadable};
use crate::attempt::Lease;
use crate::capacity::HeldKeys;
use crate::change::Position;
use crate::clock::Timestamp;
use crate::job::{Dedup, DedupScope, Job, JobId, Lifecycle, NewJob, UsedKey};
use crate::store::{AttemptLog, ChangedSince, Leased};
use crate::tenant::TenantName;

type Result<A = ()> = std::result::Result<A, Infallible>;

/// See the documentation of the module.
#[derive(Debug)]
pub struct MemoryRows {
    jobs: BTreeMap<JobId, StoredJob>,
    /// Finalized jobs, in the order in which they ended.
    history: BTreeMap<Position, JobId>,
    keys: HashMap<(TenantName, DedupScope, String), UsedKey>,
    logs: Logs,
    /// The highest position among the jobs that were removed.
    pruned: Position,
}

impl MemoryRows {
    /// No rows, and never more than `log_bytes` of logs.
    #[must_use]
    pub fn new(log_bytes: u64) -> Self {
        Self {
            jobs: BTreeMap::new(),
            history: BTreeMap::new(),
            keys: HashMap::new(),
            logs: Logs::new(log_bytes),
            pruned: Position::default(),
        }
    }

    /// A job with all that belongs to it.
    #[must_use]
    pub fn stored(&self, id: JobId) -> Option<&StoredJob> {
        self.jobs.get(&id)
    }

    /// The jobs with ids below this one, newest first.
    pub fn below(&self, id: JobId) -> impl Iterator<Item = &Job> {
        self.jobs.range(..id).rev().map(|(_, stored)| &stored.job)
    }

    /// How many finalized jobs there are.
    #[must_use]
    pub fn finalized(&self) -> usize {
        self.history.len()
    }

    /// See [`JobReads::changed_since`](crate::store::JobReads::changed_since).
    #[must_use]
    pub fn changed_since(&self, position: Position, most: usize) -> ChangedSince {
        if position < self.pruned {
            let latest = self.jobs.values().map(|stored| stored.position).max();
            return ChangedSince::Reset(self.pruned.max(latest.unwrap_or_default()).into());
        }
        let changed = self.jobs.values().filter(|stored| stored.position > position);
        let mut changed: Vec<_> = changed.collect();
        changed.sort_unstable_by_key(|stored| stored.position);
        let changed = changed.into_iter().take(most);
        ChangedSince::Jobs(changed.map(|it| (it.position, it.job.clone())).collect())
    }

    /// Keeps the log of an attempt, in place of an earlier one.
    pub fn save_log(&mut self, id: JobId, log: AttemptLog) {
        if let Some(stored) = self.jobs.get(&id) {
            self.logs.save(&stored.job.spec.tenant, id, log);
        }
    }

    /// The logs of attempts.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.logs
    }
}

impl Rows for MemoryRows {
    type Error = Infallible;

    fn insert(&mut self, at: Place, job: NewJob, _lifecycle: &Lifecycle) -> Result {
        self.jobs.insert(job.id, StoredJob::new(at, job));
        Ok(())
    }

    fn write(&mut self, change: &RowChange<'_>) -> Result {
        if let Some(stored) = self.jobs.get_mut(&change.id) {
            stored.apply(change);
            if change.lifecycle.state.is_finalized() {
                self.history.insert(change.position, change.id);
            }
        }
        Ok(())
    }

    fn revive(&mut self, at: Place, id: JobId, lifecycle: &Lifecycle) -> Result {
        if let Some(stored) = self.jobs.get_mut(&id) {
            self.history.remove(&stored.position);
            stored.revive(at, lifecycle);
        }
        Ok(())
    }

    fn leased(
        &mut self,
        _row: u64,
        lease: Lease,
    ) -> Result<std::result::Result<Leased, Unreadable>> {
        let leased = self.jobs.get(&lease.job).map(|stored| stored.leased(lease));
        Ok(leased.ok_or_else(|| Unreadable("it is gone".to_owned())))
    }

    fn job(&self, id: JobId) -> Result<Option<(Job, u64)>> {
        let stored = self.jobs.get(&id);
        Ok(stored.map(|stored| (stored.job.clone(), stored.payload.bytes.len() as u64)))
    }

    fn removable(&mut self, which: Removable<'_>, most: usize) -> Result<Vec<FinalizedRow>> {
        let ended = self.history.values().filter_map(|id| self.jobs.get(id));
        let which = ended.filter(|stored| which.includes(&stored.job));
        Ok(which.take(most).map(StoredJob::finalized).collect())
    }

    fn remove(&mut self, jobs: &[FinalizedRow]) -> Result {
        for job in jobs {
            self.jobs.remove(&job.id);
            self.history.remove(&job.position);
            self.logs.remove_all(job.id);
            self.pruned = self.pruned.max(job.position);
        }
        Ok(())
    }

    fn used_key(&self, tenant: &TenantName, dedup: &Dedup) -> Result<Option<UsedKey>> {
        Ok(self.keys.get(&(tenant.clone(), dedup.scope, dedup.key.clone())).cloned())
    }

    fn use_key(&mut self, used: &UsedKey) -> Result {
        let (tenant, dedup) = (used.first.spec.tenant.clone(), &used.dedup);
        self.keys.insert((tenant, dedup.scope, dedup.key.clone()), used.clone());
        Ok(())
    }

    fn remove_keys(&mut self, now: Timestamp, _most: usize) -> Result<HeldKeys> {
        self.keys.retain(|_, used| used.dedup.until > now);
        let share = |used: &UsedKey| {
            let spec = &used.first.spec;
            (spec.tenant.clone(), used.dedup.bytes(spec))
        };
        Ok(self.keys.values().map(share).collect())
    }
}
