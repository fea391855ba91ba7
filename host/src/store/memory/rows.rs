//! Rows in memory.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use bytes::Bytes;
use jobwright_core::attempt::Lease;
use jobwright_core::capacity::{HeldBytes, HeldKeys, KeptLimits};
use jobwright_core::change::Position;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::{
    Idempotency, Job, JobId, Lifecycle, MAX_RECORDS, NewJob, OutputInfo, Payload,
};
use jobwright_core::ledger::{Bound, FinalizedRow, Kept, Place, RowChange, Rows, Unreadable};
use jobwright_core::log::LogSnapshot;
use jobwright_core::outcome::Output;
use jobwright_core::plugin::Digest;
use jobwright_core::store::{AttemptLog, Enqueued, JobFilter, JobPage, Leased, Page, Retention};
use jobwright_core::tenant::{TenantLimits, TenantName};

/// See the module's text.
#[derive(Debug, Default)]
pub struct MemoryRows {
    records: BTreeMap<JobId, Record>,
    /// Finalized jobs, in the order in which they ended.
    history: BTreeMap<Position, JobId>,
    keys: HashMap<String, (JobId, Idempotency)>,
    logs: BTreeMap<(JobId, u32), LogSnapshot>,
    limits: KeptLimits,
}

/// A job with all that belongs to it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) job: Job,
    pub(super) payload: Payload,
    pub(super) output: Option<Output>,
    checkpoint: Option<Bytes>,
    position: Position,
}

impl MemoryRows {
    pub(super) fn new(limits: KeptLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    #[cfg(test)]
    pub(super) fn finalized_count(&self) -> usize {
        self.history.len()
    }

    pub(super) fn record(&self, id: JobId) -> Option<&Record> {
        self.records.get(&id)
    }

    pub(super) fn list(&self, filter: &JobFilter, page: Page, now: Timestamp) -> JobPage {
        let below = self.records.range(..page.before.unwrap_or(JobId::from_bytes([0xff; 16])));
        let mut matching = below.rev().map(|(_, r)| &r.job).filter(|j| filter.matches(j, now));
        let mut found: Vec<Job> = Vec::new();
        let mut bytes = 0;
        while found.len() < page.most && bytes <= JobPage::MAX_BYTES {
            let Some(job) = matching.next() else { break };
            bytes += job.text_bytes();
            found.push(job.clone());
        }
        let next = matching.next().and_then(|_| found.last().map(|job| job.id));
        JobPage { jobs: found, next }
    }

    pub(super) fn changed_since(&self, position: Position, most: usize) -> Vec<(Position, Job)> {
        let changed = self.records.values().filter(|record| record.position > position);
        let mut changed: Vec<_> = changed.map(|record| (record.position, &record.job)).collect();
        changed.sort_unstable_by_key(|(position, _)| *position);
        changed.into_iter().take(most).map(|(position, job)| (position, job.clone())).collect()
    }

    /// Keeps a log; the oldest ones of the tenant that holds most go while there is too much of them.
    pub(super) fn save_log(&mut self, id: JobId, attempt: u32, log: LogSnapshot) {
        self.logs.insert((id, attempt), log);
        while let Some(oldest) = self.log_over_bound() {
            self.logs.remove(&oldest);
        }
    }

    /// The oldest log of the tenant that holds most, if there is too much of them.
    fn log_over_bound(&self) -> Option<(JobId, u32)> {
        let tenant_of = |id: &JobId| self.records.get(id).map(|it| it.job.spec.tenant.clone());
        let bytes_of = |(id, _): &(JobId, u32), log: &LogSnapshot| {
            Some((tenant_of(id)?, log.bytes.len() as u64))
        };
        let held: HeldBytes =
            self.logs.iter().filter_map(|(key, log)| bytes_of(key, log)).collect();
        let largest = held.largest().filter(|_| held.bytes() > self.limits.log_bytes)?;
        self.logs.keys().find(|(id, _)| tenant_of(id).as_ref() == Some(largest)).copied()
    }

    pub(super) fn remove_logs(&mut self, ids: &[JobId]) {
        self.logs.retain(|(id, _), _| !ids.contains(id));
    }

    pub(super) fn logs(&self, id: JobId) -> Vec<AttemptLog> {
        let logs = self.logs.range((id, 0)..=(id, u32::MAX));
        let logs =
            logs.map(|((_, attempt), log)| AttemptLog { attempt: *attempt, log: log.clone() });
        let mut logs: Vec<_> = logs.collect();
        logs.drain(..logs.len().saturating_sub(MAX_RECORDS));
        logs
    }

    fn finalized<'a>(&self, wanted: impl Fn(&Job) -> bool + 'a, most: usize) -> Vec<FinalizedRow> {
        let history = self.history.iter().filter_map(|(at, id)| Some((at, self.records.get(id)?)));
        let wanted = history.filter(|(_, record)| wanted(&record.job)).take(most);
        let row = |(position, record): (&Position, &Record)| FinalizedRow {
            id: record.job.id,
            tenant: record.job.spec.tenant.clone(),
            position: *position,
            apart: None,
            bytes: record.payload.bytes.len() as u64
                + record.job.output.as_ref().map_or(0, |output| output.bytes),
        };
        wanted.map(row).collect()
    }
}

impl Rows for MemoryRows {
    type Error = Infallible;

    fn insert(&mut self, at: Place, job: NewJob, lifecycle: &Lifecycle) -> Result<(), Infallible> {
        let (id, spec, lifecycle) = (job.id, job.spec, lifecycle.clone());
        let (attempts, output, progress) = (vec![], None, None);
        let created_at = at.now;
        let stored = Job { id, spec, created_at, lifecycle, attempts, output, progress };
        let (payload, position) = (job.payload, at.position);
        let record = Record { job: stored, payload, output: None, checkpoint: None, position };
        self.records.insert(id, record);
        Ok(())
    }

    fn write(&mut self, change: &RowChange<'_>) -> Result<(), Infallible> {
        let Some(Record { job, output, checkpoint, position, .. }) =
            self.records.get_mut(&change.id)
        else {
            return Ok(());
        };
        *position = change.position;
        job.lifecycle = change.lifecycle.clone();
        job.attempts.extend(change.ended.cloned());
        job.attempts.drain(..job.attempts.len().saturating_sub(MAX_RECORDS));
        job.progress = change.progress.cloned().or(job.progress.take());
        match change.checkpoint {
            Kept::Stays => {}
            Kept::Goes => *checkpoint = None,
            Kept::Is(bytes) => *checkpoint = Some(bytes.clone()),
        }
        match change.output {
            Kept::Stays => {}
            Kept::Goes => (job.output, *output) = (None, None),
            Kept::Is(left) => {
                let (content_type, bytes) = (left.content_type.clone(), left.bytes.len() as u64);
                let attempt = change.lifecycle.attempt;
                job.output = Some(OutputInfo { content_type, bytes, attempt });
                *output = Some(left.clone());
            }
        }
        if job.lifecycle.state.is_finalized() {
            self.history.insert(change.position, change.id);
        }
        Ok(())
    }

    fn revive(&mut self, at: Place, id: JobId, lifecycle: &Lifecycle) -> Result<(), Infallible> {
        if let Some(record) = self.records.get_mut(&id) {
            self.history.remove(&record.position);
            record.position = at.position;
            record.job.lifecycle = lifecycle.clone();
            record.job.progress = None;
        }
        Ok(())
    }

    fn leased(
        &mut self,
        _row: u64,
        lease: Lease,
    ) -> Result<Result<Leased, Unreadable>, Infallible> {
        let found = self.records.get(&lease.job).map(|record| Leased {
            lease,
            job: record.job.clone(),
            payload: record.payload.clone(),
            checkpoint: record.checkpoint.clone(),
        });
        Ok(found.ok_or_else(|| Unreadable("it is gone".to_owned())))
    }

    fn job(&mut self, id: JobId) -> Result<Option<(Job, u64)>, Infallible> {
        let found = self.records.get(&id);
        Ok(found.map(|record| (record.job.clone(), record.payload.bytes.len() as u64)))
    }

    fn expired(
        &mut self,
        retention: &Retention,
        most: usize,
    ) -> Result<Vec<FinalizedRow>, Infallible> {
        let expired = |job: &Job| {
            let lifecycle = &job.lifecycle;
            lifecycle.finalized_at.is_some_and(|at| retention.expired(lifecycle.state, at))
        };
        Ok(self.finalized(expired, most))
    }

    fn oldest(
        &mut self,
        tenant: &TenantName,
        most: usize,
    ) -> Result<Vec<FinalizedRow>, Infallible> {
        Ok(self.finalized(|job| &job.spec.tenant == tenant, most))
    }

    fn remove(&mut self, jobs: &[FinalizedRow]) -> Result<(), Infallible> {
        for job in jobs {
            self.records.remove(&job.id);
            self.history.remove(&job.position);
        }
        Ok(())
    }

    fn is_over(&mut self, bound: &Bound) -> Result<bool, Infallible> {
        Ok(bound.counted_bytes > bound.history_bytes)
    }

    fn has_room(&mut self, _bytes: u64) -> Result<bool, Infallible> {
        Ok(true)
    }

    fn keeps_checkpoints(&self) -> bool {
        true
    }

    fn answered(
        &mut self,
        key: &str,
        fingerprint: Digest,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, Infallible> {
        let first = self.keys.get(key).filter(|(_, first)| first.expires_at > now);
        Ok(first.map(|(id, first)| match first.fingerprint == fingerprint {
            true => Enqueued::Duplicate { id: *id, answer: first.answer.clone() },
            false => Enqueued::KeyReused,
        }))
    }

    fn remember(&mut self, job: JobId, key: &Idempotency) -> Result<(), Infallible> {
        self.keys.insert(key.key.clone(), (job, key.clone()));
        Ok(())
    }

    fn forget_keys(&mut self, now: Timestamp, _most: usize) -> Result<HeldKeys, Infallible> {
        self.keys.retain(|_, (_, key)| key.expires_at > now);
        Ok(self.keys.values().map(|(_, key)| (key.tenant(), key.bytes())).collect())
    }

    fn set_hold(&mut self, _hold: &Hold, _note: Option<&HoldNote>) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_tenant(&mut self, _name: &TenantName, _: TenantLimits) -> Result<(), Infallible> {
        Ok(())
    }
}
