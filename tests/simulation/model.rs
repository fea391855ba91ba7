//! A model of the store, written independently: which jobs exist, their leases and their transitions,
//! derived only from requests to the store and its responses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use jobwright_core::attempt::Lease;
use jobwright_core::capacity::Side;
use jobwright_core::clock::{Timestamp, after, until};
use jobwright_core::hold::{Hold, JobLabels};
use jobwright_core::host::HostId;
use jobwright_core::job::{
    CancelRequest, JobId, JobState, MAX_LOST, NewJob, Priority, QueueName, Verdict,
};
use jobwright_core::report::ProgressUpdate;
use jobwright_core::store::{Claim, Claimed, Enqueued, Finish, Finished, Redriven, Renewal};
use jobwright_core::tenant::{TenantLimits, TenantName};

use super::history::LIMITS;
use super::world::short;

/// The model of a store.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) jobs: BTreeMap<JobId, ModelJob>,
    /// Jobs whose acceptance was acknowledged.
    pub(super) acknowledged: BTreeSet<JobId>,
    /// The holds, whose jobs claims skip.
    pub(super) held: BTreeSet<Hold>,
    /// The limits of tenants that have some.
    pub(super) tenants: BTreeMap<TenantName, TenantLimits>,
    /// Attempts that began while others ran.
    pub(super) beside: u64,
    /// The latest time of a command, and how far the wall clock was ahead of it at the latest claim, in
    /// microseconds.
    time: Timestamp,
    ahead: i64,
    /// The time of the latest claim, at which the store last read the wall clock.
    claimed_at: Timestamp,
    /// As `time`, including commands that may not have reached the store.
    latest: Timestamp,
    /// The latest committed time, which a host that is started later finds.
    committed: Timestamp,
    /// The number of finished attempts.
    finished: u64,
    /// What is known of each host that claimed.
    hosts: BTreeMap<HostId, ModelHost>,
    /// The first violation of an invariant.
    wrong: Option<String>,
}

/// A host, as far as it decides whether a lost attempt counts.
#[derive(Debug, Clone, Copy, Default)]
struct ModelHost {
    alive_at: Timestamp,
    /// The latest of these that was committed.
    committed: Timestamp,
    /// The number of the latest attempt that it finished.
    finished: u64,
}

/// A job, as far as its state can be derived from outside.
#[derive(Debug)]
pub(super) struct ModelJob {
    pub(super) labels: JobLabels,
    pub(super) state: JobState,
    pub(super) attempt: u32,
    pub(super) failures: u16,
    pub(super) lost: u16,
    pub(super) refused: u16,
    pub(super) scheduled_at: Timestamp,
    lost_after: Option<u64>,
    /// Whether `scheduled_at` is a time of the wall clock.
    pub(super) on_wall: bool,
    priority: Priority,
    max_attempts: u16,
    memory_bytes: u64,
    payload_bytes: u64,
    cancel_requested: bool,
    /// The host that runs it, when its lease expires, and when its attempt began, if it is running.
    host: Option<HostId>,
    pub(super) expires_at: Timestamp,
    attempted_at: Timestamp,
    /// Until when its first attempt must begin, and until when it must be over.
    start_by: Option<Timestamp>,
    end_by: Option<Timestamp>,
    checkpoint: Option<Bytes>,
}

impl ModelJob {
    pub(super) fn is_over(&self) -> bool {
        self.state.is_finalized()
    }

    fn wait(&mut self, at: Timestamp) {
        (self.state, self.scheduled_at, self.on_wall) = (JobState::Available, at, false);
    }

    /// Waits for the next attempt, unless that would begin at the deadline or later.
    fn try_again(&mut self, at: Timestamp) {
        self.wait(at);
        if self.end_by.is_some_and(|end| end <= at) {
            self.end(JobState::Discarded);
        }
    }

    /// Lets the time to live of a job that was never tried begin at `due`.
    fn live_from(&mut self, due: Timestamp) {
        if let Some(end) = self.start_by.filter(|_| self.attempt == 0) {
            self.start_by = Some(after(due, until(self.scheduled_at, end)));
        }
    }

    /// Ends a waiting job whose time is over at `now`.
    fn expire(&mut self, now: Timestamp) {
        let over = |bound: Option<Timestamp>| bound.is_some_and(|end| end <= now);
        let starts_late = self.attempt == 0 && !self.on_wall && over(self.start_by);
        if self.state != JobState::Available || !(starts_late || over(self.end_by)) {
            return;
        }
        if self.attempt == 0 {
            return self.end(JobState::Expired);
        }
        self.scheduled_at = self.scheduled_at.max(now);
        self.end(JobState::Discarded);
    }

    /// The lane of the job.
    fn lane(&self) -> (&TenantName, &QueueName) {
        (&self.labels.tenant, &self.labels.queue)
    }

    fn sort_key(&self) -> Timestamp {
        after(self.scheduled_at, LIMITS.head_start * (u32::from(u8::from(self.priority)) - 1))
    }

    fn forgive(&mut self) {
        (self.lost, self.lost_after) = (0, None);
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

    /// Loses the attempt with its host, when so many attempts were finished.
    fn lose(&mut self, host: ModelHost, finished: u64) {
        let at_once = until(self.attempted_at, host.alive_at) < Duration::from_secs(10);
        let nothing_since = self.lost_after.is_some_and(|loss| host.finished <= loss);
        self.lost += u16::from(at_once || nothing_since);
        self.lost_after = Some(finished);
        if self.cancel_requested {
            self.end(JobState::Cancelled);
        } else if self.lost == MAX_LOST {
            self.end(JobState::Discarded);
        } else {
            self.wait(self.scheduled_at);
        }
    }
}

impl Model {
    /// Records a violation if `holds` is false; a history fails with the first one.
    pub(super) fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }

    pub(super) fn wrong(&self) -> Option<&String> {
        self.wrong.as_ref()
    }

    /// A command at this time was committed.
    pub(super) fn commits(&mut self, now: Timestamp) {
        self.time = self.time.max(now);
        self.latest = self.latest.max(now);
        self.commit();
    }

    fn commit(&mut self) {
        self.committed = self.time;
        self.hosts.values_mut().for_each(|host| host.committed = host.alive_at);
    }

    /// A host shows that it lives.
    pub(super) fn alive(&mut self, host: HostId, now: Timestamp) {
        self.lives(host, now);
        self.commits(now);
    }

    fn lives(&mut self, host: HostId, now: Timestamp) {
        let host = self.hosts.entry(host).or_default();
        host.alive_at = host.alive_at.max(now);
    }

    /// The host of a running job.
    fn host(&self, job: JobId) -> ModelHost {
        let host = self.jobs.get(&job).and_then(|job| job.host);
        host.and_then(|host| self.hosts.get(&host)).copied().unwrap_or_default()
    }

    /// The jobs that run on a host.
    fn on_host(&self, host: HostId) -> impl Iterator<Item = &ModelJob> {
        let running = self.jobs.values().filter(|job| job.state == JobState::Running);
        running.filter(move |job| job.host == Some(host))
    }

    /// A command at this time wrote nothing.
    pub(super) fn looks(&mut self, now: Timestamp) {
        self.time = self.time.max(now);
        self.latest = self.latest.max(now);
    }

    /// Whether a waiting job is due at `time`, as far as the store knows.
    fn is_due(&self, job: &ModelJob, time: Timestamp) -> bool {
        self.due_at(job) <= if job.on_wall { self.claimed_at } else { time }
    }

    /// When a waiting job is due by the host's clock.
    pub(super) fn due_at(&self, job: &ModelJob) -> Timestamp {
        let ahead = if job.on_wall { self.ahead } else { 0 };
        let at = job.scheduled_at.as_microsecond() - ahead;
        Timestamp::from_microsecond(at).unwrap_or_default()
    }

    pub(super) fn enqueued(&mut self, jobs: &[NewJob], answers: &[Enqueued], now: Timestamp) {
        self.must(jobs.len() == answers.len(), || "an enqueue was not answered".to_owned());
        self.latest = self.latest.max(now);
        // The store may not know yet which jobs have become due since the latest command.
        let times = [self.time, self.latest];
        for (job, answer) in jobs.iter().zip(answers) {
            let (labels, side) = (JobLabels::from(&*job.spec), Side::of(job.scheduled_at, now));
            let bytes = job.payload.bytes.len() as u64;
            let rooms = times.map(|time| self.has_room(&labels, bytes, (side, time)));
            let inserted = *answer == Enqueued::Inserted;
            self.must(rooms.contains(&inserted), || {
                format!("{}: {answer:?}, room: {rooms:?}", short(job.id))
            });
            if inserted {
                self.jobs.insert(job.id, seen(job, now));
            }
        }
        // A request whose jobs are all refused is not committed.
        if answers.contains(&Enqueued::Inserted) {
            self.commits(now);
        }
    }

    /// Whether one more job fits in addition to the unfinished ones, each of which counts once. `time`
    /// decides which of them are due.
    fn has_room(
        &self,
        labels: &JobLabels,
        payload_bytes: u64,
        (side, time): (Side, Timestamp),
    ) -> bool {
        let JobLabels { tenant, queue, .. } = labels;
        let unfinished = || self.jobs.values().filter(|job| !job.is_over());
        let of_tenant = || unfinished().filter(|job| job.labels.tenant == *tenant);
        let in_queue = || of_tenant().filter(|job| job.labels.queue == *queue);
        let is_due = |job: &&ModelJob| job.state == JobState::Running || self.is_due(job, time);
        let due = in_queue().filter(is_due).count();
        let has_room_in_queue = match side {
            Side::Due => due < LIMITS.per_queue,
            Side::Parked => in_queue().count() - due < LIMITS.parked_per_queue,
        };
        let bytes = |job: &ModelJob| job.payload_bytes;
        let limits = self.limits(tenant);
        let (all, all_bytes) = (unfinished().count(), unfinished().map(bytes).sum::<u64>());
        let (own, own_bytes) = (of_tenant().count(), of_tenant().map(bytes).sum::<u64>());
        // A tenant may use less than seven times what it leaves to others.
        let has_share = own < 7 * LIMITS.total.saturating_sub(all)
            && (payload_bytes == 0
                || own_bytes < 7 * LIMITS.payload_bytes.saturating_sub(all_bytes));
        all < LIMITS.total
            && has_room_in_queue
            && has_share
            && all_bytes + payload_bytes <= LIMITS.payload_bytes
            && limits.jobs.is_none_or(|most| own < most)
            && limits.payload_bytes.is_none_or(|most| own_bytes + payload_bytes <= most)
    }

    fn limits(&self, tenant: &TenantName) -> TenantLimits {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    /// Attempts of a tenant in flight.
    fn running(&self, tenant: &TenantName) -> usize {
        let running = self.jobs.values().filter(|job| job.state == JobState::Running);
        running.filter(|job| job.labels.tenant == *tenant).count()
    }

    /// Whether one more attempt at such a job may begin.
    fn may_begin(&self, labels: &JobLabels) -> bool {
        let most = self.limits(&labels.tenant).running;
        most.is_none_or(|most| self.running(&labels.tenant) < most)
            && !self.held.iter().any(|hold| hold.covers(labels))
    }

    /// A job that should have been claimed before `claimed`: of a tenant with fewer attempts in flight,
    /// of a queue of the same tenant with fewer, or of the same queue with a smaller sort key. Lanes whose
    /// first job does not fit into the remaining memory do not count.
    fn is_wronged(&self, claimed: &ModelJob, memory_left: u64) -> Option<JobId> {
        let waits =
            |job: &ModelJob| job.state == JobState::Available && self.is_due(job, self.time);
        let large: BTreeSet<_> = self
            .jobs
            .values()
            .filter(|job| waits(job) && job.memory_bytes > memory_left)
            .map(|job| job.lane())
            .collect();
        let runs = |job: &ModelJob| {
            let running = self.jobs.values().filter(|job| job.state == JobState::Running);
            running.filter(|other| other.lane() == job.lane()).count()
        };
        let place = |job: &ModelJob| (self.running(&job.labels.tenant), runs(job), job.sort_key());
        let goes_before = |job: &ModelJob| {
            let (before, claimed_place) = (place(job), place(claimed));
            match job.labels.tenant == claimed.labels.tenant {
                false => before.0 < claimed_place.0,
                true if job.lane() == claimed.lane() => before.2 < claimed_place.2,
                true => before.1 < claimed_place.1,
            }
        };
        let wronged = |job: &ModelJob| {
            // A job that was lost may have to wait until nothing else runs.
            waits(job)
                && job.lost == 0
                && goes_before(job)
                && self.may_begin(&job.labels)
                && !large.contains(&job.lane())
        };
        self.jobs.iter().find(|(_, job)| wronged(job)).map(|(id, _)| *id)
    }

    pub(super) fn hold(&mut self, hold: Hold, held: bool) {
        self.commit();
        if held {
            self.held.insert(hold);
        } else {
            self.held.remove(&hold);
        }
    }

    /// Jobs that are due by the wall clock, which reads `wall`, stay due, even if it is set back. `before` is when
    /// a command was last.
    fn settle(&mut self, wall: Timestamp, before: Timestamp) {
        let (time, ahead) = (self.time, self.ahead);
        for job in self.jobs.values_mut().filter(|job| job.state == JobState::Available) {
            if job.on_wall && job.scheduled_at.as_microsecond() - ahead <= time.as_microsecond() {
                let late = until(job.scheduled_at, wall).min(until(before, time));
                job.live_from(time.checked_sub(late).unwrap_or_default());
                (job.scheduled_at, job.on_wall) = (job.scheduled_at.min(time), false);
            }
        }
    }

    pub(super) fn claimed(&mut self, want: &Claim, now: Timestamp, claimed: &Claimed) {
        let before = self.time;
        self.alive(want.host, now);
        self.ahead = want.wall.as_microsecond() - now.as_microsecond();
        self.claimed_at = self.time;
        self.settle(want.wall, before);
        let time = self.time;
        self.jobs.values_mut().for_each(|job| job.expire(time));
        let mut idle = want.idle && self.on_host(want.host).next().is_none();
        let mut memory_left = want.memory_bytes;
        let count = claimed.leased.len();
        self.must(count <= want.max, || format!("{count} jobs were claimed for {}", want.max));
        for leased in &claimed.leased {
            let (id, attempt) = (leased.lease.job, leased.lease.attempt);
            let labels = JobLabels::from(&*leased.job.spec);
            let beside = self.jobs.values().any(|job| job.state == JobState::Running);
            let may = self.may_begin(&labels);
            let is_beside = self.on_host(want.host).next().is_some();
            let memory = if idle { u64::MAX } else { memory_left };
            let claimed = self.jobs.get(&id);
            let wronged = claimed.and_then(|claimed| self.is_wronged(claimed, memory));
            let due = claimed.is_some_and(|claimed| self.is_due(claimed, self.latest));
            self.must(wronged.is_none(), || {
                let wronged = wronged.map(short).unwrap_or_default();
                format!("{} was claimed before {wronged}, which goes before it", short(id))
            });
            let Some(job) = self.jobs.get_mut(&id) else {
                self.must(false, || format!("{} was claimed and never accepted", short(id)));
                continue;
            };
            let fits = idle || job.memory_bytes <= memory_left;
            let rightly = job.state == JobState::Available
                && attempt == job.attempt + 1
                && due
                && job.failures < job.max_attempts
                && job.lost < MAX_LOST
                && (job.lost + 1 < MAX_LOST || !is_beside)
                && leased.lease.host == want.host
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
            (job.attempted_at, job.host) = (now, Some(want.host));
            idle = false;
            self.must(rightly, || format!("{} was {what}", short(id)));
        }
    }

    pub(super) fn renewed(
        &mut self,
        leases: &[Lease],
        (until, now): (Timestamp, Timestamp),
        answers: &[Renewal],
    ) {
        self.looks(now);
        self.must(leases.len() == answers.len(), || "a renewal was not answered".to_owned());
        for (lease, answer) in leases.iter().zip(answers) {
            let expected = match self.holder(lease) {
                None => Renewal::LeaseLost,
                Some(job) => {
                    job.expires_at = until;
                    let is_cancelled = job.cancel_requested;
                    self.lives(lease.host, now);
                    match is_cancelled {
                        true => Renewal::CancelRequested,
                        false => Renewal::Extended,
                    }
                }
            };
            self.must(*answer == expected, || format!("{lease:?}: {answer:?}, not {expected:?}"));
        }
    }

    pub(super) fn finished(&mut self, finish: &Finish, now: Timestamp, answer: Finished) {
        self.commits(now);
        let (id, verdict) = (finish.lease.job, finish.verdict);
        let Some(job) = self.holder(&finish.lease) else {
            self.must(answer == Finished::LeaseLost, || {
                format!("{}: recorded under a lease that was lost: {finish:?}", short(id))
            });
            return;
        };
        let stopped = job.cancel_requested;
        let last = matches!(verdict, Verdict::Complete | Verdict::Discard | Verdict::Cancel);
        if !last && !finish.told.is_empty() || finish.told.progress.is_some() {
            job.forgive();
        }
        match verdict {
            Verdict::Complete => job.end(JobState::Completed),
            Verdict::Discard => {
                job.failures += 1;
                job.end(JobState::Discarded);
            }
            Verdict::Retry { .. } | Verdict::Snooze { .. } | Verdict::Release { .. } if stopped => {
                job.end(JobState::Cancelled);
            }
            Verdict::Cancel => job.end(JobState::Cancelled),
            Verdict::Retry { at } => {
                job.failures += 1;
                job.forgive();
                job.try_again(at);
            }
            Verdict::Snooze { at } => {
                job.forgive();
                job.try_again(at);
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
        let released = matches!(verdict, Verdict::Release { .. });
        let counted = job.failures <= job.max_attempts;
        let more = !again || job.failures < job.max_attempts;
        self.finishes(finish.lease.host, released, now);
        self.must(answer == Finished::Recorded(state), || format!("{answer:?}, not {state:?}"));
        self.must(counted && more, || format!("{} was tried too often: {verdict:?}", short(id)));
        self.must(verdict != Verdict::Cancel || stopped, || {
            format!("{} was cancelled without a request", short(id))
        });
    }

    /// A host ends an attempt.
    fn finishes(&mut self, host: HostId, released: bool, now: Timestamp) {
        self.finished += u64::from(!released);
        let finished = self.finished;
        self.lives(host, now);
        if !released {
            self.hosts.entry(host).or_default().finished = finished;
        }
        self.commit();
    }

    pub(super) fn told(&mut self, lease: &Lease, told: &ProgressUpdate) {
        self.commit();
        if let Some(job) = self.holder(lease) {
            keep(job, told);
            if !told.is_empty() {
                job.forgive();
            }
        }
    }

    pub(super) fn reclaimed(&mut self, now: Timestamp, most: usize, ids: &[JobId]) {
        self.commits(now);
        let expired = |job: &ModelJob| job.state == JobState::Running && job.expires_at <= now;
        let due = self.jobs.values().filter(|job| expired(job)).count().min(most);
        self.must(ids.len() == due, || format!("{} leases expired, reclaimed: {ids:?}", due));
        for id in ids {
            let rightly = self.jobs.get(id).is_some_and(expired);
            self.must(rightly, || format!("{} was reclaimed from its holder", short(*id)));
            let (host, finished) = (self.host(*id), self.finished);
            self.jobs.entry(*id).and_modify(|job| job.lose(host, finished));
        }
    }

    /// The embedded store was opened again: there are no leases any more, and times of jobs follow the wall
    /// clock, as the host's clock starts with it. Other times were of a clock behind the wall clock.
    pub(super) fn reopened(&mut self, now: Timestamp) {
        let micros = jiff::SignedDuration::from_micros(self.ahead);
        let on_wall = |at: Timestamp| at.checked_add(micros).unwrap_or(at);
        let was_due = on_wall(self.committed).max(now);
        let hosts = std::mem::take(&mut self.hosts);
        for job in self.jobs.values_mut().filter(|job| !job.is_over()) {
            if job.state == JobState::Running {
                let host = job.host.and_then(|host| hosts.get(&host)).copied().unwrap_or_default();
                job.lose(ModelHost { alive_at: host.committed, ..host }, self.finished);
            }
            if !job.on_wall {
                job.scheduled_at = on_wall(job.scheduled_at);
                job.start_by = job.start_by.map(on_wall);
            }
            job.end_by = job.end_by.map(on_wall);
            // Jobs that were due by the clocks of the earlier process are due.
            job.on_wall = job.scheduled_at > was_due;
            if !job.on_wall {
                let lived = |end| after(now, until(job.scheduled_at, end)).min(end);
                job.start_by = job.start_by.map(lived);
                job.scheduled_at = job.scheduled_at.min(now);
            }
        }
        (self.time, self.latest, self.committed) = (now, now, now);
        (self.claimed_at, self.ahead) = (now, 0);
        self.settle(now, now);
    }

    pub(super) fn cancelled(&mut self, id: JobId, now: Timestamp, answer: Option<&CancelRequest>) {
        self.commits(now);
        let expected = self.jobs.get_mut(&id).map(ModelJob::cancel);
        self.must(answer == expected.as_ref(), || {
            format!("cancelling {}: {answer:?}, not {expected:?}", short(id))
        });
    }

    pub(super) fn cancelled_under(
        &mut self,
        hold: &Hold,
        (now, most): (Timestamp, usize),
        answers: &[(JobId, CancelRequest)],
    ) {
        self.committed = self.time;
        let covered =
            |job: &ModelJob| !job.is_over() && !job.cancel_requested && hold.covers(&job.labels);
        let due = self.jobs.values().filter(|job| covered(job)).count().min(most);
        self.must(answers.len() == due, || format!("{due} are under {hold:?}, not {answers:?}"));
        for (id, answer) in answers {
            let rightly = self.jobs.get(id).is_some_and(covered);
            self.must(rightly, || format!("{} was cancelled under {hold:?}", short(*id)));
            self.cancelled(*id, now, Some(answer));
        }
    }

    pub(super) fn redriven(&mut self, id: JobId, now: Timestamp, answer: Option<&Redriven>) {
        self.commits(now);
        let Some(job) = self.jobs.get(&id) else {
            self.must(answer.is_none(), || format!("{} is unknown: {answer:?}", short(id)));
            return;
        };
        let over = job.is_over();
        let room = !over || self.has_room(&job.labels, job.payload_bytes, (Side::Due, self.time));
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
                (job.failures, job.refused, job.cancel_requested) = (0, 0, false);
                job.forgive();
                (job.start_by, job.end_by) = (None, None);
            } else if job.on_wall || job.scheduled_at > now {
                job.live_from(now);
            }
            job.wait(if over || job.on_wall { now } else { now.min(job.scheduled_at) });
        }
    }

    /// Grows with every attempt that begins or is over.
    pub(super) fn changes(&self) -> u64 {
        let changes = |job: &ModelJob| u64::from(job.attempt) * 2 + u64::from(job.is_over());
        self.jobs.values().map(changes).sum()
    }

    /// The job of a live lease.
    fn holder(&mut self, lease: &Lease) -> Option<&mut ModelJob> {
        let job = self.jobs.get_mut(&lease.job)?;
        let is_held = job.attempt == lease.attempt && job.host == Some(lease.host);
        (job.state == JobState::Running && is_held).then_some(job)
    }
}

fn keep(job: &mut ModelJob, told: &ProgressUpdate) {
    job.checkpoint = told.checkpoint.clone().or(job.checkpoint.take());
}

fn seen(job: &NewJob, now: Timestamp) -> ModelJob {
    let later = |from, ms: Option<u64>| ms.map(|ms| after(from, Duration::from_millis(ms)));
    ModelJob {
        labels: JobLabels::from(&*job.spec),
        state: JobState::Available,
        attempt: 0,
        failures: 0,
        lost: 0,
        refused: 0,
        scheduled_at: job.scheduled_at.max(now),
        lost_after: None,
        on_wall: false,
        priority: job.spec.priority,
        max_attempts: job.spec.max_attempts,
        memory_bytes: job.spec.limits.host_bytes(),
        payload_bytes: job.payload.bytes.len() as u64,
        cancel_requested: false,
        expires_at: Timestamp::MIN,
        attempted_at: Timestamp::MIN,
        start_by: later(job.scheduled_at.max(now), job.spec.ttl_ms),
        end_by: later(now, job.spec.deadline_ms),
        host: None,
        checkpoint: None,
    }
}
