//! Random histories: the embedded store is compared with the store in memory, step by step, through
//! crashes.
//!
//! Both are built on the same queue, so their responses are also checked against rules that are written
//! here independently: the order of claims, and counts that agree with the list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright::store::memory::MemoryStore;
use jobwright_core::attempt::Lease;
use jobwright_core::capacity::{CapacityLimits, KeptLimits};
use jobwright_core::clock::{Timestamp, after, until};
use jobwright_core::job::{Job, JobId, JobState, QueueName};
use jobwright_core::queue::QueueCounts;
use jobwright_core::store::{
    Claim, Claimed, Enqueued, Finish, Finished, JobFilter, JobReads as _, JobStore as _, Leased,
    Redriven, Store, StoreError,
};
use libtest_mimic::{Failed, Trial};
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use super::SQLITE;
use super::drafts::{at, ending, paused_queue, unknown};
use super::fixture::{Fixture, HOSTS, Place, walk, want};
use super::steps::{PAYLOAD_UNIT, Sketch, Step, later, older_than, steps};

/// Bounds small enough that a history reaches them.
const LIMITS: CapacityLimits = CapacityLimits {
    per_queue: 7,
    parked_per_queue: 3,
    total: 12,
    payload_bytes: 60 * PAYLOAD_UNIT,
    kept: KeptLimits::DEFAULT,
    head_start: HEAD_START,
};

/// The head start of a priority level: as much as times in a history differ.
const HEAD_START: Duration = Duration::from_secs(3);

/// Gives every second end of an attempt an output that is too long for the row of a job.
fn leaving_much(mut end: Finish) -> Finish {
    if let Some(output) = end.output.as_mut().filter(|_| end.lease.attempt % 2 == 1) {
        output.bytes = output.bytes.repeat(200).into();
    }
    end
}

/// The maximum number of steps in a history.
const STEPS: usize = 80;

/// The number of histories.
const CASES: u32 = 192;

pub(super) fn trial() -> Trial {
    let name = "conformance::sqlite::any_history_has_the_same_answers_as_in_memory";
    Trial::test(name, || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(Config { max_shrink_iters: 500, ..config }).run(
            &steps(STEPS),
            |history| {
                let outcome = runtime.block_on(replay(&history));
                outcome.map_err(|error| TestCaseError::fail(format!("{error:#}")))
            },
        );
        outcome.map_err(|error| match error {
            TestError::Fail(reason, history) => {
                let steps: Vec<String> = history.iter().map(|step| format!("{step:?}")).collect();
                Failed::from(format!("{reason}\nafter this history:\n{}", steps.join("\n")))
            }
            TestError::Abort(reason) => Failed::from(reason.to_string()),
        })
    })
}

async fn replay(history: &[Step]) -> anyhow::Result<()> {
    let mut pair = Pair::new()?;
    for (number, step) in history.iter().enumerate() {
        let context = || format!("at step {number}, {step:?}");
        pair.take(step).await.with_context(context)?;
        pair.compare().await.with_context(context)?;
    }
    pair.compare_each().await
}

/// Two stores with the same history.
struct Pair {
    memory: Arc<MemoryStore>,
    sqlite: Fixture,
    now: Timestamp,
    /// Every accepted job, including pruned ones.
    ids: Vec<JobId>,
    /// When each job began to wait, in the order of arrival.
    arrivals: BTreeMap<JobId, usize>,
    /// Every claim so far.
    leased: Vec<Leased>,
    turns: Turns,
}

/// When each queue with due or running jobs was served last; a new queue comes before the one that was
/// served last.
#[derive(Default)]
struct Turns {
    served: BTreeMap<QueueName, u64>,
    latest: u64,
}

impl Turns {
    fn follow(&mut self, jobs: &[Job], now: Timestamp) {
        let busy = |job: &&Job| match job.lifecycle.state {
            JobState::Running => true,
            JobState::Available => job.lifecycle.is_due(now),
            _ => false,
        };
        let busy: BTreeSet<_> =
            jobs.iter().filter(busy).map(|job| job.spec.queue.clone()).collect();
        self.served.retain(|queue, _| busy.contains(queue));
        self.come(busy);
    }

    fn come(&mut self, queues: impl IntoIterator<Item = QueueName>) {
        let new = self.latest.saturating_sub(1);
        for queue in queues {
            self.served.entry(queue).or_insert(new);
        }
    }

    fn serve(&mut self, queue: &QueueName) {
        self.latest += 2;
        self.served.insert(queue.clone(), self.latest);
    }
}

impl Pair {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            memory: Arc::new(MemoryStore::new(LIMITS)),
            sqlite: Fixture::new(SQLITE, Place::Memory)?.bounded(LIMITS)?,
            now: at(0),
            ids: vec![],
            arrivals: BTreeMap::new(),
            leased: vec![],
            turns: Turns::default(),
        })
    }

    /// The result of a call on both stores, which must be the same.
    async fn both<A: PartialEq + Debug>(
        &self,
        call: impl AsyncFn(&dyn Store) -> Result<A, StoreError>,
    ) -> anyhow::Result<A> {
        let (expected, found) = (call(&*self.memory).await?, call(&*self.sqlite).await?);
        ensure!(expected == found, "memory: {expected:?}\nsqlite: {found:?}");
        Ok(found)
    }

    async fn take(&mut self, step: &Step) -> anyhow::Result<()> {
        let now = self.now;
        match step {
            Step::Enqueue(sketches) => self.enqueue(sketches).await?,
            Step::Claim { host, max, memory_bytes, idle, lease_ms } => {
                let (host, memory_bytes, idle) = (*host, *memory_bytes, *idle);
                let expires_at = later(now, *lease_ms);
                let want = Claim { host, memory_bytes, idle, expires_at, ..want(*max, now) };
                self.claim(want).await?;
            }
            Step::Renew { lease_ms } => {
                let (leases, until) = (self.leases(), later(now, *lease_ms));
                self.both(async |s| s.renew(leases.clone(), until, now).await).await?;
            }
            Step::Finish { newest, ending: end } => {
                if let Some(leased) = self.leased.iter().rev().nth(*newest) {
                    self.finish(leaving_much(ending(leased, end.verdict(now), now))).await?;
                }
            }
            Step::Cancel(which) => {
                let id = self.pick(*which);
                self.both(async |s| s.request_cancel(id, now).await).await?;
            }
            Step::Redrive(which) => self.redrive(self.pick(*which)).await?,
            Step::Reclaim { most } => {
                self.both(async |s| s.reclaim_expired(now, *most).await).await?;
            }
            Step::Pause { queue, paused } => {
                self.both(async |s| {
                    s.set_held(paused_queue(queue), paused.then(Default::default)).await
                })
                .await?;
            }
            Step::Prune { age_ms } => {
                let retention = older_than(now, *age_ms);
                self.both(async |s| s.prune(retention, 1000).await).await?;
            }
            Step::List { filter, most } => {
                self.both(async |s| walk(s, filter.clone(), *most, now).await).await?;
            }
            Step::Advance { ms } => self.now = later(now, *ms),
            Step::Crash => self.crash().await?,
        }
        Ok(())
    }

    async fn enqueue(&mut self, sketches: &[Sketch]) -> anyhow::Result<()> {
        let jobs: Vec<_> = sketches.iter().map(|sketch| sketch.job(self.now)).collect();
        // As the dispatcher does every second: the bounds of a queue depend on which jobs are due.
        self.both(async |s| s.claim(want(0, self.now), self.now).await).await?;
        // It ended jobs whose time is over, and with them perhaps the turn of their queue.
        self.turns.follow(&self.all().await?, self.now);
        let answers = self.both(async |s| s.enqueue(jobs.clone(), self.now).await).await?;
        for (job, answer) in jobs.iter().zip(answers) {
            if answer == Enqueued::Inserted {
                self.ids.push(job.id);
                self.arrives(job.id);
            }
        }
        Ok(())
    }

    async fn claim(&mut self, want: Claim) -> anyhow::Result<()> {
        let order = self.due_in_order().await?;
        let claimed = self.both(async |s| s.claim(want, self.now).await).await?;
        self.turns.come(order.iter().map(|job| job.spec.queue.clone()));
        claims_are_right(&order, &want, (self.now, &mut self.turns), &claimed)?;
        self.leased.extend(claimed.leased);
        Ok(())
    }

    async fn finish(&self, finish: Finish) -> anyhow::Result<()> {
        let before = self.memory.get(finish.lease.job).await?.map(|job| job.lifecycle);
        let holds = before
            .is_some_and(|l| l.state == JobState::Running && l.attempt == finish.lease.attempt);
        let answer = self.both(async |s| s.finish(finish.clone().into(), self.now).await).await?;
        ensure!((answer != Finished::LeaseLost) == holds, "{answer:?}, holds: {holds}");
        Ok(())
    }

    async fn redrive(&mut self, id: JobId) -> anyhow::Result<()> {
        let before = self.memory.get(id).await?;
        let answer = self.both(async |s| s.redrive(id, self.now).await).await?;
        let was_over = before.is_some_and(|job| job.lifecycle.state.is_finalized());
        if was_over && answer == Some(Redriven::Due) {
            self.arrives(id);
        }
        Ok(())
    }

    fn leases(&self) -> Vec<Lease> {
        self.leased.iter().map(|leased| leased.lease).collect()
    }

    fn arrives(&mut self, id: JobId) {
        let place = self.arrivals.values().max().map_or(0, |last| last + 1);
        self.arrivals.insert(id, place);
    }

    /// An existing job, or an unknown one.
    fn pick(&self, which: usize) -> JobId {
        self.ids.get(which % (self.ids.len() + 1)).copied().unwrap_or_else(unknown)
    }

    /// Kills the embedded store. For the store in memory a crash is emulated: every attempt in flight is
    /// lost at once.
    async fn crash(&mut self) -> anyhow::Result<()> {
        for host in HOSTS {
            self.both(async |s| s.alive(host, self.now).await).await?;
        }
        self.memory.renew(self.leases(), self.now, self.now).await?;
        self.memory.reclaim_expired(self.now, usize::MAX).await?;
        self.memory.restart();
        self.turns = Turns::default();
        self.sqlite = self.sqlite.crash(LIMITS, self.now)?;
        self.compare_each().await
    }

    async fn all(&self) -> anyhow::Result<Vec<Job>> {
        self.both(async |s| walk(s, JobFilter::default(), 1000, self.now).await).await
    }

    /// The jobs that may be claimed now, in their order.
    async fn due_in_order(&self) -> anyhow::Result<Vec<Job>> {
        let counts = self.memory.counts(self.now).await?;
        let paused: Vec<QueueName> =
            counts.into_iter().filter(|counts| counts.paused).map(|counts| counts.name).collect();
        let mut jobs = self.all().await?;
        jobs.retain(|job| {
            let (state, due) = (job.lifecycle.state, job.lifecycle.scheduled_at);
            let is_over = job.lifecycle.expires_at().is_some_and(|at| at <= self.now);
            state == JobState::Running
                || (state == JobState::Available
                    && due <= self.now
                    && !is_over
                    && !paused.contains(&job.spec.queue))
        });
        jobs.sort_by_key(|job| {
            let levels = u32::from(u8::from(job.spec.priority)) - 1;
            let sort_key = after(job.lifecycle.scheduled_at, HEAD_START * levels);
            (job.lifecycle.state != JobState::Running, sort_key, self.arrivals.get(&job.id))
        });
        Ok(jobs)
    }

    /// Compares the content of the stores.
    async fn compare(&mut self) -> anyhow::Result<()> {
        let jobs = self.all().await?;
        self.turns.follow(&jobs, self.now);
        let counts = self.both(async |s| s.counts(self.now).await).await?;
        for queue in counts {
            let mut expected = QueueCounts {
                depth: 0,
                scheduled: 0,
                running: 0,
                oldest_age_ms: 0,
                capacity: LIMITS.per_queue,
                parked: 0,
                parked_capacity: LIMITS.parked_per_queue,
                ..queue.clone()
            };
            for job in jobs.iter().filter(|job| job.spec.queue == queue.name) {
                let lifecycle = &job.lifecycle;
                let waits = lifecycle.state == JobState::Available;
                expected.running += usize::from(lifecycle.state == JobState::Running);
                expected.depth += usize::from(waits);
                let is_due = waits && lifecycle.is_due(self.now);
                expected.scheduled += usize::from(waits && !is_due);
                expected.parked = expected.scheduled;
                if is_due {
                    let age = self.now.duration_since(lifecycle.scheduled_at).as_millis();
                    expected.oldest_age_ms =
                        expected.oldest_age_ms.max(u64::try_from(age).unwrap_or(0));
                }
            }
            ensure!(queue == expected, "listed: {expected:?}\ncounted: {queue:?}");
        }
        Ok(())
    }

    /// Compares every job with its payload, output and logs.
    async fn compare_each(&self) -> anyhow::Result<()> {
        for id in &self.ids {
            self.both(async |s| s.get(*id).await).await?;
            self.both(async |s| s.output(*id).await).await?;
        }
        Ok(())
    }
}

/// Checks `claimed` against the rules of claiming. `order` begins with the running jobs; the others are
/// sorted by their keys. Each claim takes the first job of the queue with the fewest running jobs, and of
/// these queues the one that was served longest ago, as far as number and memory allow. On each host suspects
/// run one at a time, and a job that was lost twice runs alone; others wait for it only when it has waited for
/// ten minutes.
fn claims_are_right(
    order: &[Job],
    want: &Claim,
    (now, turns): (Timestamp, &mut Turns),
    claimed: &Claimed,
) -> anyhow::Result<()> {
    let order = order.iter().cloned();
    let (mut running, mut due): (Vec<Job>, Vec<Job>) =
        order.partition(|job| job.lifecycle.state == JobState::Running);
    let mut memory = want.memory_bytes;
    let (mut expected, mut passed) = (Vec::new(), Vec::new());
    while expected.len() < want.max
        && let Some(place) = first(&running, &due, now, (want, &passed, turns))
    {
        let (idle, job) = (is_idle(want, &running), &due[place]);
        if !idle && job.lifecycle.lost == 2 {
            break;
        }
        if !idle && job.spec.limits.host_bytes() > memory {
            if until(job.lifecycle.scheduled_at, now) >= Duration::from_secs(60) {
                break;
            }
            passed.push(job.spec.queue.clone());
            continue;
        }
        memory = memory.saturating_sub(job.spec.limits.host_bytes());
        let mut job = due.remove(place);
        job.lifecycle.claim_on(want.host, now);
        turns.serve(&job.spec.queue);
        expected.push(job.id);
        running.push(job);
    }
    let found: Vec<JobId> = claimed.leased.iter().map(|leased| leased.job.id).collect();
    ensure!(found == expected, "expected to claim {expected:?}, claimed {found:?}");
    Ok(())
}

/// Whether a job runs on the host that claims.
fn is_beside(want: &Claim, job: &Job) -> bool {
    job.lifecycle.host == Some(want.host)
}

/// Whether none does.
fn is_idle(want: &Claim, running: &[Job]) -> bool {
    want.idle && !running.iter().any(|job| is_beside(want, job))
}

/// The place in `due` of the job that begins next beside those that run.
fn first(
    running: &[Job],
    due: &[Job],
    now: Timestamp,
    (want, passed, turns): (&Claim, &[QueueName], &Turns),
) -> Option<usize> {
    let idle = is_idle(want, running);
    let beside = || running.iter().filter(|job| is_beside(want, job));
    let watched: Vec<_> = beside().filter(|job| job.lifecycle.is_watched(now)).collect();
    if watched.iter().any(|job| job.lifecycle.lost == 2) {
        return None;
    }
    let tried = beside().any(|job| job.lifecycle.lost > 0);
    let waits = |job: &Job| {
        let since = job.lifecycle.attempted_at.unwrap_or_default().max(job.lifecycle.scheduled_at);
        job.lifecycle.lost == 2 && !idle && (tried || until(since, now) < Duration::from_secs(600))
    };
    let may = |job: &Job| {
        let trusted = job.lifecycle.lost == 0 || (watched.is_empty() && !waits(job));
        trusted && !passed.contains(&job.spec.queue)
    };
    let runs = |job: &Job| running.iter().filter(|it| it.spec.queue == job.spec.queue).count();
    let open = due.iter().enumerate().filter(|(_, job)| may(job));
    let turn = |job: &Job| turns.served.get(&job.spec.queue).copied();
    open.min_by_key(|(place, job)| (runs(job), turn(job), *place)).map(|(place, _)| place)
}
