//! One history: random steps, and the invariants that are checked after each of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jobwright_core::Clock as _;
use jobwright_core::capacity::{CapacityLimits, KeptLimits};
use jobwright_core::clock::until;
use jobwright_core::hold::Hold;
use jobwright_core::job::{Job, JobId, JobState, NewJob};
use jobwright_core::outcome::OutcomeKind;
use jobwright_core::store::{Enqueued, JobFilter, Page, Store};
use jobwright_core::tenant::TenantLimits;

use super::drafts::{QUEUES, TENANTS, draft, labels, limits};
use super::hosts::Host;
use super::place::Place;
use super::wire::at_once;
use super::world::{World, job_id, short};

/// Bounds of the store, small enough that histories reach them.
pub(super) const LIMITS: CapacityLimits = CapacityLimits {
    per_queue: 6,
    parked_per_queue: 4,
    total: 13,
    payload_bytes: 90,
    kept: KeptLimits::DEFAULT,
    head_start: Duration::from_secs(60),
};

/// Hosts that run at one time: the laws of a store hold for any number.
const HOSTS: usize = 2;

/// The time within which all jobs must be finalized after faults have ended, in addition to their own
/// delays: leases expire, time limits pass, suspects run one by one.
const CALM: Duration = Duration::from_secs(1800);

/// The interval at which a history checks whether all jobs are finalized.
const CALM_STEP: Duration = Duration::from_secs(2);

/// After so many checks without a change, nothing changes before the next lease expires.
const QUIET: u32 = 20;

/// The longest delay of a call of the store, including its response.
const LONGEST_CALL: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy)]
enum Step {
    Submit,
    Cancel,
    Redrive,
    Hold,
    LetGo,
    CancelHeld,
    Limit,
    Start,
    Crash,
    Reopen,
    Stall,
    Mend,
    Refuse,
    Unrenewed,
    Jump,
    Leave,
}

/// Steps with their weights; steps that the history's faults exclude are skipped.
const STEPS: &[(u64, Step)] = &[
    (26, Step::Submit),
    (9, Step::Cancel),
    (6, Step::Redrive),
    (3, Step::Hold),
    (5, Step::LetGo),
    (1, Step::CancelHeld),
    (2, Step::Limit),
    (8, Step::Start),
    (4, Step::Crash),
    (3, Step::Reopen),
    (5, Step::Stall),
    (6, Step::Mend),
    (2, Step::Refuse),
    (3, Step::Unrenewed),
    (4, Step::Jump),
    (3, Step::Leave),
];

/// Counters of a history.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) steps: usize,
    pub(super) jobs: usize,
    pub(super) attempts: u64,
    /// Attempts that began while others ran.
    pub(super) beside: u64,
    pub(super) crashes: usize,
    pub(super) lost: u64,
}

impl Tally {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            steps: self.steps + other.steps,
            jobs: self.jobs + other.jobs,
            attempts: self.attempts + other.attempts,
            beside: self.beside + other.beside,
            crashes: self.crashes + other.crashes,
            lost: self.lost + other.lost,
        }
    }
}

pub(super) struct History {
    world: Arc<World>,
    place: Place,
    hosts: Vec<Host>,
    lives: usize,
    submitted: u64,
    tally: Tally,
}

impl History {
    pub(super) fn new(world: Arc<World>, place: Place) -> Self {
        Self { world, place, hosts: vec![], lives: 0, submitted: 0, tally: Tally::default() }
    }

    /// Runs the history to its end.
    pub(super) async fn play(mut self) -> anyhow::Result<Tally> {
        self.start();
        for number in 0..self.world.rng.between(10, 60) {
            let step = self.world.rng.weighted(STEPS);
            self.take(step)?;
            self.pass_time().await;
            self.tally.steps += 1;
            self.check().with_context(|| format!("after step {number}, {step:?}"))?;
        }
        self.world.note(|| "nothing goes wrong any more".to_owned());
        self.come_to_an_end().await?;
        self.leave().await?;
        self.fill()?;
        let model = self.world.model();
        self.tally.jobs = model.jobs.len();
        self.tally.attempts = model.jobs.values().map(|job| u64::from(job.attempt)).sum();
        self.tally.beside = model.beside;
        self.tally.lost = model.jobs.values().map(|job| u64::from(job.lost)).sum();
        Ok(self.tally)
    }

    fn take(&mut self, step: Step) -> anyhow::Result<()> {
        let (rng, faults) = (self.world.rng.clone(), self.world.faults);
        match step {
            Step::Submit => self.submit(),
            Step::Cancel => {
                let id = self.any_job();
                self.ask(move |api, now| async move { api.request_cancel(id, now).await.is_ok() });
            }
            Step::Redrive => {
                let id = self.any_job();
                self.ask(move |api, now| async move { api.redrive(id, now).await.is_ok() });
            }
            Step::Hold | Step::LetGo => {
                let (hold, held) = (self.any_hold(), matches!(step, Step::Hold));
                self.ask(move |api, _| async move {
                    api.set_held(hold, held.then(Default::default)).await.is_ok()
                });
            }
            Step::CancelHeld => {
                let (hold, most) = (self.any_hold(), rng.between(1, 5) as usize);
                self.ask(move |api, now| async move {
                    api.cancel_covered(hold, now, most).await.is_ok()
                });
            }
            Step::Limit => {
                let (tenant, limits) = (labels(&rng).tenant, limits(&rng));
                self.ask(move |api, _| async move { api.set_tenant(tenant, limits).await.is_ok() });
            }
            Step::Start if self.hosts.len() < HOSTS => self.start(),
            Step::Crash if faults.crashes => self.crash(),
            Step::Reopen if faults.crashes => self.reopen()?,
            Step::Stall if faults.stalls => {
                self.to_one("stalls", |host| host.life.gate.hold(true));
            }
            Step::Mend => self.to_one("is mended", Host::mend),
            Step::Refuse if faults.refusals => self.to_one("is refused", |host| {
                host.life.refused.store(true, Ordering::Relaxed);
            }),
            Step::Unrenewed if faults.refusals => self.to_one("renews nothing", |host| {
                host.life.unrenewed.store(true, Ordering::Relaxed);
            }),
            Step::Jump if faults.jumps => {
                let most = rng.one_of(&[1_000, 60_000, 4_000_000]);
                let ms = rng.below(2 * most).cast_signed() - most.cast_signed();
                self.world.note(|| format!("the clock is set by {ms} ms"));
                self.world.clock.jump(ms);
            }
            Step::Leave => self.to_one("is asked to stop", Host::leave),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self) {
        self.lives += 1;
        self.world.note(|| format!("host {} starts", self.lives));
        self.hosts.push(Host::start(&self.world, self.lives));
    }

    fn crash(&mut self) {
        if !self.hosts.is_empty() {
            let which = self.world.rng.below(self.hosts.len() as u64) as usize;
            let host = self.hosts.swap_remove(which);
            self.world.note(|| format!("host {} dies", host.life.number));
            host.crash();
            self.tally.crashes += 1;
        }
    }

    /// All hosts crash, and the store with them, if it is durable.
    fn reopen(&mut self) -> anyhow::Result<()> {
        self.hosts.drain(..).for_each(|host| host.crash());
        if self.place.is_durable() {
            self.world.clock.restart();
        }
        let now = self.world.clock.now();
        if let Some(store) = self.place.reopened(now)? {
            self.world.note(|| "the store dies and is opened again".to_owned());
            self.world.model().reopened(now);
            self.place.close(self.world.replace_store(store))?;
            self.tally.crashes += 1;
        }
        Ok(())
    }

    fn to_one(&self, what: &str, change: impl FnOnce(&Host)) {
        if !self.hosts.is_empty() {
            let which = self.world.rng.below(self.hosts.len() as u64) as usize;
            let host = &self.hosts[which];
            self.world.note(|| format!("host {} {what}", host.life.number));
            change(host);
        }
    }

    /// A request to one of the hosts, which may never be answered.
    fn ask<F: Future<Output = bool> + Send + 'static>(
        &self,
        request: impl FnOnce(Arc<dyn Store>, jiff::Timestamp) -> F,
    ) {
        if !self.hosts.is_empty() {
            let which = self.world.rng.below(self.hosts.len() as u64) as usize;
            tokio::spawn(request(self.hosts[which].api.clone(), self.world.clock.now()));
        }
    }

    fn submit(&mut self) {
        let now = self.world.clock.now();
        let jobs: Vec<NewJob> = (0..self.world.rng.between(1, 3))
            .map(|_| {
                self.submitted += 1;
                draft(&self.world.rng, job_id(self.submitted), now)
            })
            .collect();
        let world = self.world.clone();
        self.ask(move |api, now| async move {
            let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
            let Ok(answers) = api.enqueue(jobs, now).await else { return false };
            let accepted = ids.iter().zip(answers).filter(|(_, a)| *a == Enqueued::Inserted);
            world.model().acknowledged.extend(accepted.map(|(id, _)| id));
            true
        });
    }

    /// An existing hold, or a random one.
    fn any_hold(&self) -> Hold {
        let held: Vec<Hold> = self.world.model().held.iter().cloned().collect();
        let rng = &self.world.rng;
        if !held.is_empty() && rng.percent(50) {
            return held[rng.below(held.len() as u64) as usize].clone();
        }
        let [queue, tenant, plugin, version, digest] = Hold::over(&labels(rng));
        match rng.below(7) {
            0 => tenant,
            1 => plugin,
            2 => version,
            3 => digest,
            _ => queue,
        }
    }

    /// A submitted job, or an unknown one.
    fn any_job(&self) -> JobId {
        job_id(self.world.rng.between(1, self.submitted + 1))
    }

    /// Lets no time pass, yields a few times, or lets a random time pass.
    async fn pass_time(&self) {
        let rng = &self.world.rng;
        match rng.weighted(&[(15, 0), (25, 1), (25, 20), (20, 3_000), (15, 40_000)]) {
            0 => {}
            1 => {
                for _ in 0..rng.between(1, 8) {
                    tokio::task::yield_now().await;
                }
            }
            most => tokio::time::sleep(Duration::from_millis(rng.below(most))).await,
        }
    }

    /// Checks the invariants.
    fn check(&mut self) -> anyhow::Result<()> {
        if let Some(wrong) = self.world.model().wrong() {
            bail!("{wrong}");
        }
        self.hosts.retain(|host| {
            let left = host.running.is_finished() && host.is_leaving();
            if left {
                host.life.gate.close();
            }
            !left
        });
        let broken = self.hosts.iter().find(|host| host.running.is_finished());
        ensure!(broken.is_none(), "a dispatcher has ended by itself");
        let jobs = self.jobs()?;
        self.check_each(&jobs)?;
        self.check_counts(&jobs)
    }

    fn jobs(&self) -> anyhow::Result<Vec<Job>> {
        let page = Page { before: None, most: usize::MAX >> 1 };
        let now = self.world.clock.now();
        Ok(at_once(self.world.store().list(JobFilter::default(), page, now))?.jobs)
    }

    fn check_each(&self, jobs: &[Job]) -> anyhow::Result<()> {
        let model = self.world.model();
        ensure!(jobs.len() == model.jobs.len(), "{} jobs are listed", jobs.len());
        for job in jobs {
            let (id, now) = (short(job.id), &job.lifecycle);
            let seen = model.jobs.get(&job.id).with_context(|| format!("{id} is unknown"))?;
            let same = (seen.state, seen.attempt, seen.failures, seen.lost, seen.refused)
                == (now.state, now.attempt, now.failures, now.lost, now.refused);
            // A job that became due by a wall clock that was set is written with its next transition.
            let time = seen.scheduled_at == now.scheduled_at
                || (self.world.faults.jumps && seen.scheduled_at <= now.scheduled_at);
            ensure!(same && time, "{id}: {now:?}\nnot {seen:?}");
            ensure!(now.finalized_at.is_some() == now.state.is_finalized(), "{id}: {now:?}");
            let lost = job.attempts.iter().any(|record| record.outcome == OutcomeKind::Lost);
            ensure!(!lost || self.world.faults.lose(), "{id} was lost without a fault");
            let numbers: Vec<u32> = job.attempts.iter().map(|record| record.attempt).collect();
            let grow = numbers.is_sorted_by(|a, b| a < b) && numbers.last() <= Some(&now.attempt);
            ensure!(grow, "{id}: attempts {numbers:?} of {}", now.attempt);
            let last = job.attempts.last().map(|record| record.outcome);
            let completed = last == Some(OutcomeKind::Succeeded);
            let waits = matches!(now.state, JobState::Available | JobState::Running);
            ensure!(
                waits
                    || completed == (now.state == JobState::Completed)
                    || now.attempt == 0
                    || now.state == JobState::Cancelled,
                "{id}: {last:?}, {now:?}"
            );
        }
        Ok(())
    }

    fn check_counts(&self, jobs: &[Job]) -> anyhow::Result<()> {
        let mut counted = 0;
        let now = self.world.clock.now();
        let counts = at_once(self.world.store().counts(now))?;
        self.world.model().looks(now);
        for counts in counts {
            counted += counts.depth + counts.running;
            let count = |state| {
                let queue = (&counts.tenant, &counts.name);
                let same = |job: &&Job| (&job.spec.tenant, &job.spec.queue) == queue;
                jobs.iter().filter(same).filter(|job| job.lifecycle.state == state).count()
            };
            let (depth, running) = (count(JobState::Available), count(JobState::Running));
            ensure!((counts.depth, counts.running) == (depth, running), "{counts:?}");
            let pause = Hold::Queue { tenant: counts.tenant.clone(), queue: counts.name.clone() };
            ensure!(counts.paused == self.world.model().held.contains(&pause), "{counts:?}");
        }
        let held = BTreeSet::from_iter(at_once(self.world.store().holds())?.into_keys());
        ensure!(held == self.world.model().held, "{held:?} is held");
        let unfinished = jobs.iter().filter(|job| !job.lifecycle.state.is_finalized()).count();
        ensure!(counted == unfinished, "{counted} jobs are counted, {unfinished} listed");
        Ok(())
    }

    /// Ends all faults and lets time pass: every job is finalized, every guest ends.
    async fn come_to_an_end(&mut self) -> anyhow::Result<()> {
        self.world.calm();
        self.hosts.iter().for_each(Host::mend);
        let begin = self.world.clock.elapsed();
        let (mut quiet, mut last) = (0, 0);
        while self.world.clock.elapsed() < begin + CALM {
            if !self.hosts.iter().any(|host| !host.is_leaving()) {
                self.start();
            }
            // Repeated, as a delayed request may still arrive.
            self.remove_all_holds()?;
            tokio::time::sleep(CALM_STEP).await;
            self.check().context("while the history ends")?;
            let guests: u32 = self.hosts.iter().map(|host| host.guests.count()).sum();
            let changes = self.world.model().changes();
            quiet = if guests == 0 && changes == last { quiet + 1 } else { 0 };
            last = changes;
            let held_up =
                self.world.faults.stalls && self.world.clock.elapsed() < begin + LONGEST_CALL;
            if guests == 0 && !held_up && self.skip(quiet)? {
                return Ok(());
            }
        }
        let jobs = self.jobs()?;
        let left = jobs.iter().filter(|job| !job.lifecycle.state.is_finalized());
        let left: Vec<_> = left.map(|job| (short(job.id), &job.lifecycle)).collect();
        bail!("{CALM:?} after the last fault these are not finalized: {left:?}")
    }

    fn remove_all_holds(&self) -> anyhow::Result<()> {
        let (store, mut model) = (self.world.store(), self.world.model());
        for hold in model.held.clone() {
            at_once(store.set_held(hold.clone(), None))?;
            model.hold(hold, false);
        }
        for (tenant, _) in std::mem::take(&mut model.tenants) {
            at_once(store.set_tenant(tenant, TenantLimits::default()))?;
        }
        Ok(())
    }

    /// Sets the clock to when the next job is due or the next lease of a dead host expires, if everything
    /// waits for that; returns whether all jobs are finalized.
    fn skip(&self, quiet: u32) -> anyhow::Result<bool> {
        let now = self.world.clock.now();
        let model = self.world.model();
        let unfinished = model.jobs.values().filter(|job| !job.is_over());
        let times: Vec<_> = unfinished
            .map(|job| match job.state {
                JobState::Running => job.expires_at,
                _ => model.due_at(job),
            })
            .collect();
        // A due job may have to wait for the end of a lease.
        let waits = quiet >= QUIET || times.iter().all(|time| *time > now);
        if let Some(next) = times.iter().filter(|time| **time > now).min().filter(|_| waits) {
            self.world.clock.skip(i64::try_from(until(now, *next).as_millis())?);
        }
        Ok(times.is_empty())
    }

    /// Every host shuts down gracefully, and at once, as nothing is in flight: no slot and no finish
    /// was leaked.
    async fn leave(&mut self) -> anyhow::Result<()> {
        for host in self.hosts.drain(..) {
            let begin = self.world.clock.elapsed();
            host.leave();
            host.running.await?;
            let took = self.world.clock.elapsed() - begin;
            ensure!(took < Duration::from_secs(1), "an idle host took {took:?} to stop");
        }
        let model = self.world.model();
        let over = |id: &JobId| model.jobs.get(id).is_some_and(|job| job.is_over());
        ensure!(model.acknowledged.iter().all(over), "an acknowledged job is not over");
        Ok(())
    }

    /// All capacity is free again: as many jobs fit as in the beginning, and no more.
    fn fill(&mut self) -> anyhow::Result<()> {
        self.remove_all_holds()?;
        let (store, now) = (self.world.store(), self.world.clock.now());
        let mut accepted = 0;
        for queue in QUEUES {
            for _ in 0..=LIMITS.per_queue {
                self.submitted += 1;
                let mut job = draft(&self.world.rng, job_id(self.submitted), now);
                job.scheduled_at = now;
                // Alternating: one tenant alone has only its share.
                Arc::make_mut(&mut job.spec).tenant = TENANTS[accepted % TENANTS.len()].parse()?;
                Arc::make_mut(&mut job.spec).queue = queue.parse()?;
                job.payload.bytes = Default::default();
                let answers = at_once(store.enqueue(vec![job], now))?;
                accepted += usize::from(answers == [Enqueued::Inserted]);
            }
        }
        ensure!(accepted == LIMITS.total, "{accepted} places are free of {}", LIMITS.total);
        Ok(())
    }
}
