//! What must be true, written anew: which jobs there are, who holds them and what they went through,
//! told only by what was asked of the store and what it answered.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jobwright_core::attempt::Lease;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Facts, Hold};
use jobwright_core::job::{JobId, NewJob};
use jobwright_core::lifecycle::{CancelRequest, JobState, MAX_LOST};
use jobwright_core::report::Told;
use jobwright_core::retry::Verdict;
use jobwright_core::store::{Claim, Claimed, Enqueued, Finish, Finished, Redriven, Renewal};
use jobwright_core::tenant::{TenantLimits, TenantName};

use super::history::LIMITS;
use super::world::short;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Witness {
    pub(super) jobs: BTreeMap<JobId, Seen>,
    /// Jobs whose submitters have heard that they are accepted.
    pub(super) acknowledged: BTreeSet<JobId>,
    /// What claims pass by.
    pub(super) held: BTreeSet<Hold>,
    /// The limits of tenants that were given some.
    pub(super) tenants: BTreeMap<TenantName, TenantLimits>,
    /// Attempts that began while others ran.
    pub(super) beside: u64,
    /// The first thing that must not be.
    wrong: Option<String>,
}

/// A job, as far as is known from outside.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) facts: Facts,
    pub(super) state: JobState,
    pub(super) attempt: u32,
    pub(super) failures: u16,
    pub(super) lost: u16,
    pub(super) refused: u16,
    pub(super) scheduled_at: Timestamp,
    max_attempts: u16,
    memory_bytes: u64,
    payload_bytes: u64,
    cancel_requested: bool,
    /// Until when the lease of a running job holds.
    expires_at: Timestamp,
    /// The latest time at which someone looked for work since it waits.
    looked_at: Timestamp,
    checkpoint: Option<Bytes>,
}

impl Seen {
    pub(super) fn is_over(&self) -> bool {
        self.state.is_finalized()
    }

    fn wait(&mut self, at: Timestamp) {
        (self.state, self.scheduled_at, self.looked_at) = (JobState::Available, at, Timestamp::MIN);
    }

    fn end(&mut self, state: JobState) {
        (self.state, self.checkpoint) = (state, None);
    }

    fn cancel(&mut self) -> CancelRequest {
        match self.state {
            JobState::Available => {
                self.end(JobState::Cancelled);
                CancelRequest::Cancelled
            }
            JobState::Running => {
                self.cancel_requested = true;
                CancelRequest::Stopping { attempt: self.attempt }
            }
            JobState::Cancelled => CancelRequest::AlreadyCancelled,
            over => CancelRequest::Finalized(over),
        }
    }

    fn lose(&mut self) {
        self.lost += 1;
        if self.cancel_requested {
            self.end(JobState::Cancelled);
        } else if self.lost == MAX_LOST {
            self.end(JobState::Discarded);
        } else {
            self.wait(self.scheduled_at);
        }
    }
}

impl Witness {
    /// Notes what must not be; the first of it is what a history fails with.
    pub(super) fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }

    pub(super) fn wrong(&self) -> Option<&String> {
        self.wrong.as_ref()
    }

    pub(super) fn enqueued(&mut self, jobs: &[NewJob], answers: &[Enqueued], now: Timestamp) {
        self.must(jobs.len() == answers.len(), || "an enqueue was not answered".to_owned());
        for (job, answer) in jobs.iter().zip(answers) {
            let bytes = job.payload.bytes.len() as u64;
            let room = self.has_room(&Facts::from(&job.spec), bytes);
            let inserted = *answer == Enqueued::Inserted;
            self.must(inserted == room, || format!("{}: {answer:?}, room: {room}", short(job.id)));
            if inserted {
                self.jobs.insert(job.id, seen(job, now));
            }
        }
    }

    /// Whether one more job fits beside the unfinished ones: each of them takes one place, and gives
    /// it back once.
    fn has_room(&self, facts: &Facts, payload_bytes: u64) -> bool {
        let Facts { tenant, queue, .. } = facts;
        let unfinished = || self.jobs.values().filter(|job| !job.is_over());
        let of_tenant = || unfinished().filter(|job| job.facts.tenant == *tenant);
        let in_queue = of_tenant().filter(|job| job.facts.queue == *queue);
        let bytes = |job: &Seen| job.payload_bytes;
        let limits = self.limits(tenant);
        unfinished().count() < LIMITS.total
            && in_queue.count() < LIMITS.per_queue
            && unfinished().map(bytes).sum::<u64>() + payload_bytes <= LIMITS.payload_bytes
            && limits.jobs.is_none_or(|most| of_tenant().count() < most)
            && limits
                .payload_bytes
                .is_none_or(|most| of_tenant().map(bytes).sum::<u64>() + payload_bytes <= most)
    }

    fn limits(&self, tenant: &TenantName) -> TenantLimits {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    /// Attempts of a tenant in flight.
    fn running(&self, tenant: &TenantName) -> usize {
        let running = self.jobs.values().filter(|job| job.state == JobState::Running);
        running.filter(|job| job.facts.tenant == *tenant).count()
    }

    /// Whether one more attempt at such a job may begin.
    fn may_begin(&self, facts: &Facts) -> bool {
        let most = self.limits(&facts.tenant).running;
        most.is_none_or(|most| self.running(&facts.tenant) < most)
            && !self.held.iter().any(|hold| hold.covers(facts))
    }

    /// Whether a tenant has fewer attempts in flight than `tenant`, and jobs that could begin, all of
    /// which fit into the memory that is left.
    fn is_wronged(&self, tenant: &TenantName, memory_left: u64) -> Option<JobId> {
        let fewer = |job: &Seen| self.running(&job.facts.tenant) < self.running(tenant);
        let waits =
            |job: &Seen| job.state == JobState::Available && job.looked_at >= job.scheduled_at;
        let large: BTreeSet<&TenantName> = self
            .jobs
            .values()
            .filter(|job| waits(job) && job.memory_bytes > memory_left)
            .map(|job| &job.facts.tenant)
            .collect();
        let wronged = |job: &Seen| {
            // One that was lost may have to wait until nothing else runs.
            waits(job)
                && job.lost == 0
                && fewer(job)
                && self.may_begin(&job.facts)
                && !large.contains(&job.facts.tenant)
        };
        self.jobs.iter().find(|(_, job)| wronged(job)).map(|(id, _)| *id)
    }

    pub(super) fn hold(&mut self, hold: Hold, held: bool) {
        // Nobody looks at what is held, whether it was due before or not.
        for job in self.jobs.values_mut().filter(|job| hold.covers(&job.facts)) {
            job.looked_at = Timestamp::MIN;
        }
        if held {
            self.held.insert(hold);
        } else {
            self.held.remove(&hold);
        }
    }

    pub(super) fn claimed(&mut self, want: &Claim, now: Timestamp, claimed: &Claimed) {
        let held = |job: &Seen| self.held.iter().any(|hold| hold.covers(&job.facts));
        for job in self.jobs.values_mut().filter(|job| !held(job)) {
            job.looked_at = job.looked_at.max(now);
        }
        let mut idle = want.idle && self.jobs.values().all(|job| job.state != JobState::Running);
        let mut memory_left = want.memory_bytes;
        let count = claimed.leased.len();
        self.must(count <= want.max, || format!("{count} jobs were claimed for {}", want.max));
        for leased in &claimed.leased {
            let (id, attempt) = (leased.lease.job, leased.lease.attempt);
            let facts = Facts::from(&leased.job.spec);
            let beside = self.jobs.values().any(|job| job.state == JobState::Running);
            let may = self.may_begin(&facts);
            let wronged = self.is_wronged(&facts.tenant, if idle { u64::MAX } else { memory_left });
            self.must(wronged.is_none(), || {
                let wronged = wronged.map(short).unwrap_or_default();
                format!("{} was claimed before {wronged} of who has fewer", short(id))
            });
            let Some(job) = self.jobs.get_mut(&id) else {
                self.must(false, || format!("{} was claimed and never accepted", short(id)));
                continue;
            };
            let fits = idle || job.memory_bytes <= memory_left;
            let rightly = job.state == JobState::Available
                && attempt == job.attempt + 1
                && job.looked_at >= job.scheduled_at
                && job.failures < job.max_attempts
                && job.lost < MAX_LOST
                && job.checkpoint == leased.checkpoint
                && fits
                && may;
            let what = format!(
                "claimed as attempt {attempt}, with checkpoint {:?}, fits: {fits}, may: {may}, \
                 at {now}: {job:?}",
                leased.checkpoint
            );
            memory_left = memory_left.saturating_sub(job.memory_bytes);
            self.beside += u64::from(beside);
            (job.state, job.attempt, job.expires_at) =
                (JobState::Running, attempt, want.expires_at);
            idle = false;
            self.must(rightly, || format!("{} was {what}", short(id)));
        }
    }

    pub(super) fn renewed(&mut self, leases: &[Lease], until: Timestamp, answers: &[Renewal]) {
        self.must(leases.len() == answers.len(), || "a renewal was not answered".to_owned());
        for (lease, answer) in leases.iter().zip(answers) {
            let expected = match self.holder(lease) {
                None => Renewal::LeaseLost,
                Some(job) => {
                    job.expires_at = until;
                    match job.cancel_requested {
                        true => Renewal::CancelRequested,
                        false => Renewal::Extended,
                    }
                }
            };
            self.must(*answer == expected, || format!("{lease:?}: {answer:?}, not {expected:?}"));
        }
    }

    pub(super) fn finished(&mut self, finish: &Finish, answer: Finished) {
        let (id, verdict) = (finish.lease.job, finish.verdict);
        let Some(job) = self.holder(&finish.lease) else {
            self.must(answer == Finished::LeaseLost, || {
                format!("{}: recorded under a lease that was lost: {finish:?}", short(id))
            });
            return;
        };
        let stopped = job.cancel_requested;
        match verdict {
            Verdict::Complete => job.end(JobState::Completed),
            Verdict::Discard => {
                job.failures += 1;
                job.end(JobState::Discarded);
            }
            Verdict::Retry { .. } | Verdict::Release { .. } if stopped => {
                job.end(JobState::Cancelled);
            }
            Verdict::Cancel => job.end(JobState::Cancelled),
            Verdict::Retry { at } => {
                job.failures += 1;
                job.wait(at);
            }
            Verdict::Release { at, refused } => {
                job.refused += u16::from(refused);
                job.wait(at);
            }
        }
        if !job.is_over() {
            keep(job, &finish.told);
        }
        let (state, again) = (job.state, !job.is_over());
        let counted = job.failures <= job.max_attempts;
        let more = !again || job.failures < job.max_attempts;
        self.must(answer == Finished::Recorded(state), || format!("{answer:?}, not {state:?}"));
        self.must(counted && more, || format!("{} was tried too often: {verdict:?}", short(id)));
        self.must(verdict != Verdict::Cancel || stopped, || {
            format!("{} was cancelled although nobody asked for it", short(id))
        });
    }

    pub(super) fn told(&mut self, lease: &Lease, told: &Told) {
        if let Some(job) = self.holder(lease) {
            keep(job, told);
        }
    }

    pub(super) fn reclaimed(&mut self, now: Timestamp, most: usize, ids: &[JobId]) {
        let expired = |job: &Seen| job.state == JobState::Running && job.expires_at <= now;
        let due = self.jobs.values().filter(|job| expired(job)).count().min(most);
        self.must(ids.len() == due, || format!("{} leases expired, reclaimed: {ids:?}", due));
        for id in ids {
            let rightly = self.jobs.get(id).is_some_and(expired);
            self.must(rightly, || format!("{} was reclaimed from its holder", short(*id)));
            self.jobs.entry(*id).and_modify(Seen::lose);
        }
    }

    /// The embedded store was opened again: nobody holds anything any more.
    pub(super) fn reopened(&mut self) {
        let running = self.jobs.values_mut().filter(|job| job.state == JobState::Running);
        running.for_each(Seen::lose);
    }

    pub(super) fn cancelled(&mut self, id: JobId, answer: Option<&CancelRequest>) {
        let expected = self.jobs.get_mut(&id).map(Seen::cancel);
        self.must(answer == expected.as_ref(), || {
            format!("cancelling {}: {answer:?}, not {expected:?}", short(id))
        });
    }

    pub(super) fn cancelled_under(
        &mut self,
        hold: &Hold,
        most: usize,
        answers: &[(JobId, CancelRequest)],
    ) {
        let covered =
            |job: &Seen| !job.is_over() && !job.cancel_requested && hold.covers(&job.facts);
        let due = self.jobs.values().filter(|job| covered(job)).count().min(most);
        self.must(answers.len() == due, || format!("{due} are under {hold:?}, not {answers:?}"));
        for (id, answer) in answers {
            let rightly = self.jobs.get(id).is_some_and(covered);
            self.must(rightly, || format!("{} was cancelled under {hold:?}", short(*id)));
            self.cancelled(*id, Some(answer));
        }
    }

    pub(super) fn redriven(&mut self, id: JobId, now: Timestamp, answer: Option<&Redriven>) {
        let Some(job) = self.jobs.get(&id) else {
            self.must(answer.is_none(), || format!("{} is unknown: {answer:?}", short(id)));
            return;
        };
        let over = job.is_over();
        let room = !over || self.has_room(&job.facts, job.payload_bytes);
        let rightly = match (job.state, answer) {
            (JobState::Running, answer) => answer == Some(&Redriven::Running),
            (_, Some(Redriven::Due)) => room,
            (_, Some(Redriven::QueueFull(_))) => !room,
            (_, answer) => answer.is_none(),
        };
        let what = format!("redriving {}: {answer:?}, room: {room}, {job:?}", short(id));
        self.must(rightly, || what);
        if let Some(job) = self.jobs.get_mut(&id).filter(|_| answer == Some(&Redriven::Due)) {
            if over {
                (job.failures, job.lost, job.refused, job.cancel_requested) = (0, 0, 0, false);
            }
            job.wait(if over { now } else { now.min(job.scheduled_at) });
        }
    }

    /// Grows with every attempt that begins or is over.
    pub(super) fn changes(&self) -> u64 {
        let changes = |job: &Seen| u64::from(job.attempt) * 2 + u64::from(job.is_over());
        self.jobs.values().map(changes).sum()
    }

    /// Until when the lease of a running job holds.
    pub(super) fn expires_at(&self, id: JobId) -> Timestamp {
        self.jobs.get(&id).map_or(Timestamp::MIN, |job| job.expires_at)
    }

    /// The job that the lease is still the right to try.
    fn holder(&mut self, lease: &Lease) -> Option<&mut Seen> {
        let job = self.jobs.get_mut(&lease.job)?;
        (job.state == JobState::Running && job.attempt == lease.attempt).then_some(job)
    }
}

fn keep(job: &mut Seen, told: &Told) {
    job.checkpoint = told.checkpoint.clone().or(job.checkpoint.take());
}

fn seen(job: &NewJob, now: Timestamp) -> Seen {
    Seen {
        facts: Facts::from(&job.spec),
        state: JobState::Available,
        attempt: 0,
        failures: 0,
        lost: 0,
        refused: 0,
        scheduled_at: job.scheduled_at.max(now),
        max_attempts: job.spec.max_attempts,
        memory_bytes: job.spec.limits.host_bytes(),
        payload_bytes: job.payload.bytes.len() as u64,
        cancel_requested: false,
        expires_at: Timestamp::MIN,
        looked_at: Timestamp::MIN,
        checkpoint: None,
    }
}
