//! Jobs in memory: for tests, for `jobwright run`, and as the model that durable drivers are held
//! against. Nothing survives the process.

mod keeping;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::attempt::{AttemptRecord, Lease};
use jobwright_core::capacity::{
    Capacity, CapacityLimits, Checkpoints, HeldBytes, HeldKeys, KeptLimits, QueueFull, Side,
};
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::{Idempotency, Job, JobId, MAX_RECORDS, NewJob, Payload};
use jobwright_core::lifecycle::{CancelRequest, Lifecycle, Redrive};
use jobwright_core::log::LogSnapshot;
use jobwright_core::outcome::{Outcome, Output, Usage};
use jobwright_core::plugin::{Digest, PluginName, Version};
use jobwright_core::queue::{Entry, Queue, QueueCounts};
use jobwright_core::report::Told;
use jobwright_core::store::{
    AttemptLog, Claim, Claimed, Enqueued, Finish, Finished, JobFilter, JobPage, JobStore, Leased,
    Page, Redriven, Renewal, Retention, StoreError,
};
use jobwright_core::tenant::{TenantLimits, TenantName};

/// See the module's text.
#[derive(Debug)]
pub struct MemoryStore {
    capacity: Arc<Capacity>,
    jobs: Mutex<Jobs>,
}

#[derive(Debug, Default)]
struct Jobs {
    queue: Queue,
    records: BTreeMap<JobId, Record>,
    keys: HashMap<String, (JobId, Idempotency)>,
    checkpoints: Checkpoints,
    /// What failed attempts at unfinished jobs left, which is counted as checkpoints are.
    failed_outputs: Checkpoints,
    holds: BTreeMap<Hold, HoldNote>,
    /// The jobs that are over, in the order of their ends.
    over: BTreeSet<(Option<Timestamp>, JobId)>,
    history: HeldBytes,
    log_bytes: u64,
    limits: KeptLimits,
}

#[derive(Debug)]
struct Record {
    job: Job,
    payload: Payload,
    output: Option<Output>,
    checkpoint: Option<Bytes>,
    logs: BTreeMap<u32, LogSnapshot>,
}

impl Record {
    /// What is counted of it once it is over.
    fn bytes(&self) -> u64 {
        let output = self.output.as_ref().map_or(0, |output| output.bytes.len());
        (self.payload.bytes.len() + output) as u64
    }

    fn log_bytes(&self) -> u64 {
        self.logs.values().map(|log| log.bytes.len() as u64).sum()
    }
}

impl MemoryStore {
    /// An empty store that holds at most what `limits` say.
    #[must_use]
    pub fn new(limits: CapacityLimits) -> Self {
        let queue = Queue::new(limits.head_start, Timestamp::MIN);
        let jobs = Jobs { queue, limits: limits.kept, ..Jobs::default() };
        Self { capacity: Capacity::new(limits), jobs: Mutex::new(jobs) }
    }

    /// Forgets what a host that is started again does not know, and reads the times of jobs as it does:
    /// for tests that hold a durable store against this one.
    pub fn restart(&self) {
        let jobs = &mut *self.lock();
        jobs.queue.restart();
        let ids = jobs.records.keys().copied().collect();
        jobs.follow(ids);
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue_one(&self, jobs: &mut Jobs, new: NewJob, now: Timestamp) -> Enqueued {
        if let Some(asked) = &new.idempotency
            && let Some(answered) = jobs.answered(&asked.key, asked.fingerprint, now)
        {
            return answered;
        }
        if let Some(key) = &new.idempotency {
            let held: HeldKeys =
                jobs.keys.values().map(|(_, key)| (key.tenant(), key.bytes())).collect();
            let tenant = &new.spec.tenant;
            let limits = self.capacity.tenant(tenant);
            if let Err(full) = held.check((tenant, limits), key.bytes(), jobs.limits) {
                return Enqueued::QueueFull(full);
            }
        }
        jobs.queue.pass_time(now);
        let facts = (&new.spec).into();
        let permit = match self.capacity.reserve(&facts, new.held_bytes(), new.side(now)) {
            Ok(permit) => permit,
            Err(full) => return Enqueued::QueueFull(full),
        };
        let lifecycle = new.lifecycle(now);
        jobs.queue.insert(new.id, Entry::new(&new.spec, lifecycle.clone(), permit), now);
        if let Some(key) = new.idempotency {
            jobs.keys.insert(key.key.clone(), (new.id, key));
        }
        let (id, spec) = (new.id, new.spec);
        let (attempts, output, progress) = (vec![], None, None);
        let job = Job { id, spec, created_at: now, lifecycle, attempts, output, progress };
        let (output, checkpoint, logs) = (None, None, BTreeMap::new());
        jobs.records.insert(id, Record { job, payload: new.payload, output, checkpoint, logs });
        Enqueued::Inserted
    }
}

impl Jobs {
    fn lease(&mut self, lease: Lease) -> Option<Leased> {
        let record = self.records.get_mut(&lease.job)?;
        record.job.lifecycle = self.queue.lifecycle(lease.job)?.clone();
        let (job, payload) = (record.job.clone(), record.payload.clone());
        Some(Leased { lease, job, payload, checkpoint: record.checkpoint.clone() })
    }

    /// Notes where the unfinished of these jobs stand in the queue.
    fn follow(&mut self, ids: Vec<JobId>) {
        for id in ids {
            if let Some(lifecycle) = self.queue.lifecycle(id)
                && let Some(record) = self.records.get_mut(&id)
            {
                record.job.lifecycle = lifecycle.clone();
            }
        }
    }

    fn answered(&self, key: &str, fingerprint: Digest, now: Timestamp) -> Option<Enqueued> {
        let (id, first) = self.keys.get(key).filter(|(_, first)| first.expires_at > now)?;
        Some(if first.fingerprint == fingerprint {
            Enqueued::Duplicate { id: *id, answer: first.answer.clone() }
        } else {
            Enqueued::KeyReused
        })
    }

    fn record(&mut self, id: JobId, lifecycle: Lifecycle, attempt: Option<AttemptRecord>) {
        if let Some(record) = self.records.get_mut(&id) {
            if lifecycle.state.is_finalized() {
                record.checkpoint = None;
                self.checkpoints.forget(id);
                self.failed_outputs.forget(id);
                self.over.insert((lifecycle.finalized_at, id));
                self.history.add(&record.job.spec.tenant, record.bytes());
            }
            record.job.lifecycle = lifecycle;
            record.job.attempts.extend(attempt);
            let over = record.job.attempts.len().saturating_sub(MAX_RECORDS);
            record.job.attempts.drain(..over);
        }
    }

    fn request_cancel(&mut self, id: JobId, now: Timestamp) -> Option<CancelRequest> {
        if let Some((answer, lifecycle)) = self.queue.request_cancel(id, now) {
            self.record(id, lifecycle, None);
            self.trim();
            return Some(answer);
        }
        self.records.get_mut(&id).map(|record| record.job.lifecycle.request_cancel(now))
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    async fn enqueue(&self, new: Vec<NewJob>, now: Timestamp) -> Result<Vec<Enqueued>, StoreError> {
        let mut jobs = self.lock();
        Ok(new.into_iter().map(|job| self.enqueue_one(&mut jobs, job, now)).collect())
    }

    async fn answered(
        &self,
        key: &str,
        fingerprint: Digest,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, StoreError> {
        Ok(self.lock().answered(key, fingerprint, now))
    }

    async fn claim(&self, want: Claim, now: Timestamp) -> Result<Claimed, StoreError> {
        let mut jobs = self.lock();
        let leases = jobs.queue.claim(&want, now);
        let fallen_due = jobs.queue.take_fallen_due();
        jobs.follow(fallen_due);
        let leased = leases.into_iter().filter_map(|lease| jobs.lease(lease)).collect();
        Ok(Claimed { leased, next_due: jobs.queue.next_due(), more: jobs.queue.has_due() })
    }

    async fn renew(
        &self,
        leases: Vec<Lease>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Renewal>, StoreError> {
        let mut jobs = self.lock();
        Ok(leases.iter().map(|lease| jobs.queue.renew(lease, expires_at, now)).collect())
    }

    async fn alive(&self, now: Timestamp) -> Result<(), StoreError> {
        self.lock().queue.pass_time(now);
        Ok(())
    }

    async fn finish(&self, finish: Finish, now: Timestamp) -> Result<Finished, StoreError> {
        let mut jobs = self.lock();
        jobs.queue.pass_time(now);
        jobs.keep_of(&finish.lease, finish.kept());
        let Some(lifecycle) = jobs.queue.finish(&finish.lease, finish.verdict, now) else {
            return Ok(Finished::LeaseLost);
        };
        let state = lifecycle.state;
        jobs.keep_output(&finish.lease, state, finish.output);
        jobs.record(finish.lease.job, lifecycle, Some(finish.record));
        jobs.trim();
        Ok(Finished::Recorded(state))
    }

    async fn request_cancel(
        &self,
        id: JobId,
        now: Timestamp,
    ) -> Result<Option<CancelRequest>, StoreError> {
        Ok(self.lock().request_cancel(id, now))
    }

    async fn redrive(&self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, StoreError> {
        let mut jobs = self.lock();
        if let Some((answer, lifecycle)) = jobs.queue.redrive(id, now) {
            jobs.record(id, lifecycle, None);
            return Ok(Some(match answer {
                Redrive::Due => Redriven::Due,
                Redrive::Running => Redriven::Running,
            }));
        }
        let jobs = &mut *jobs;
        let Some(record) = jobs.records.get_mut(&id) else { return Ok(None) };
        let spec = &record.job.spec;
        let held_bytes = spec.held_bytes(record.payload.bytes.len() as u64);
        let permit = match self.capacity.reserve(&spec.into(), held_bytes, Side::Due) {
            Ok(permit) => permit,
            Err(full) => return Ok(Some(Redriven::QueueFull(full))),
        };
        jobs.history.remove(&record.job.spec.tenant, record.bytes());
        jobs.over.remove(&(record.job.lifecycle.finalized_at, id));
        let has_completed = record.job.has_completed();
        record.job.lifecycle.redrive(now);
        record.job.progress = None;
        let entry = Entry::new(&record.job.spec, record.job.lifecycle.clone(), permit);
        jobs.queue.insert(id, entry, now);
        jobs.keep_earlier_output(id, has_completed);
        Ok(Some(Redriven::Due))
    }

    async fn reclaim_expired(&self, now: Timestamp, most: usize) -> Result<Vec<JobId>, StoreError> {
        let mut jobs = self.lock();
        jobs.queue.pass_time(now);
        let expired = jobs.queue.expired(now, most);
        for id in &expired {
            let Some(running) = jobs.queue.lifecycle(*id).cloned() else { continue };
            if let Some(lifecycle) = jobs.queue.reclaim(*id, now) {
                let lost = AttemptRecord::new(&running, &Outcome::Lost, Usage::default(), now);
                jobs.record(*id, lifecycle, Some(lost));
            }
        }
        jobs.trim();
        Ok(expired)
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.lock().records.get(&id).map(|record| record.job.clone()))
    }

    async fn payload(&self, id: JobId) -> Result<Option<Payload>, StoreError> {
        Ok(self.lock().records.get(&id).map(|record| record.payload.clone()))
    }

    async fn output(&self, id: JobId) -> Result<Option<Output>, StoreError> {
        Ok(self.lock().records.get(&id).and_then(|record| record.output.clone()))
    }

    async fn save_told(&self, lease: Lease, told: Told) -> Result<(), StoreError> {
        self.lock().keep_of(&lease, told);
        Ok(())
    }

    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError> {
        let jobs = &mut *self.lock();
        if let Some(record) = jobs.records.get_mut(&id) {
            jobs.log_bytes -= record.log_bytes();
            record.logs.insert(attempt, log);
            jobs.log_bytes += record.log_bytes();
            jobs.trim_logs();
        }
        Ok(())
    }

    async fn logs(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError> {
        let jobs = self.lock();
        let logs = jobs.records.get(&id).into_iter().flat_map(|record| {
            let over = record.logs.len().saturating_sub(MAX_RECORDS);
            record.logs.iter().skip(over)
        });
        Ok(logs.map(|(attempt, log)| AttemptLog { attempt: *attempt, log: log.clone() }).collect())
    }

    async fn list(
        &self,
        filter: JobFilter,
        page: Page,
        now: Timestamp,
    ) -> Result<JobPage, StoreError> {
        let jobs = self.lock();
        let below = jobs.records.range(..page.before.unwrap_or(JobId::from_bytes([0xff; 16])));
        let mut matching = below.rev().map(|(_, r)| &r.job).filter(|j| filter.matches(j, now));
        let mut found: Vec<Job> = Vec::new();
        let mut bytes = 0;
        while found.len() < page.most && bytes <= JobPage::MAX_BYTES {
            let Some(job) = matching.next() else { break };
            bytes += job.text_bytes();
            found.push(job.clone());
        }
        let next = matching.next().and_then(|_| found.last().map(|job| job.id));
        Ok(JobPage { jobs: found, next })
    }

    async fn counts(&self, now: Timestamp) -> Result<Vec<QueueCounts>, StoreError> {
        let queue = &mut self.lock().queue;
        queue.pass_time(now);
        Ok(queue.counts(now, &self.capacity.limits()))
    }

    async fn set_held(&self, hold: Hold, note: Option<HoldNote>) -> Result<(), StoreError> {
        let jobs = &mut *self.lock();
        jobs.queue.set_held(hold.clone(), note.is_some());
        while jobs.queue.is_sweeping() {
            jobs.queue.sweep();
        }
        match note {
            Some(note) => drop(jobs.holds.insert(hold, note)),
            None => drop(jobs.holds.remove(&hold)),
        }
        Ok(())
    }

    async fn holds(&self) -> Result<BTreeMap<Hold, HoldNote>, StoreError> {
        Ok(self.lock().holds.clone())
    }

    async fn cancel_covered(
        &self,
        hold: Hold,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<(JobId, CancelRequest)>, StoreError> {
        let mut jobs = self.lock();
        let covered = jobs.queue.covered(&hold, most).into_iter();
        Ok(covered.filter_map(|id| jobs.request_cancel(id, now).map(|it| (id, it))).collect())
    }

    async fn set_tenant(&self, tenant: TenantName, limits: TenantLimits) -> Result<(), StoreError> {
        self.capacity.bound(&tenant, limits);
        self.lock().queue.bound(&tenant, limits.running);
        Ok(())
    }

    async fn tenant(&self, name: &TenantName) -> Result<TenantLimits, StoreError> {
        Ok(self.capacity.tenant(name))
    }

    async fn tenants(&self) -> Result<Vec<(TenantName, TenantLimits)>, StoreError> {
        Ok(self.capacity.tenants())
    }

    async fn prune(&self, retention: Retention, most: usize) -> Result<usize, StoreError> {
        let mut jobs = self.lock();
        jobs.keys.retain(|_, (_, key)| key.expires_at > retention.now);
        let expired = jobs.records.iter().filter(|(_, record)| {
            let lifecycle = &record.job.lifecycle;
            lifecycle.finalized_at.is_some_and(|at| retention.expired(lifecycle.state, at))
        });
        let expired: Vec<JobId> = expired.map(|(id, _)| *id).take(most).collect();
        for id in &expired {
            jobs.remove(*id);
        }
        let records = jobs.records.len();
        jobs.trim();
        Ok(expired.len() + records - jobs.records.len())
    }

    fn uses(&self, tenant: &TenantName, plugin: &PluginName, version: Option<&Version>) -> usize {
        self.capacity.uses(tenant, plugin, version)
    }

    fn spare_bytes(&self) -> u64 {
        0
    }

    fn full(&self) -> Option<QueueFull> {
        self.capacity.full()
    }

    fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
