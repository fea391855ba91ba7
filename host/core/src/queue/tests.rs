mod sharing;

use proptest::prelude::*;

use std::time::Duration;

use super::entry::{Home, Slot};
use super::*;
use crate::attempt::Lease;
use crate::capacity::{Capacity, CapacityLimits, Side};
use crate::clock::Timestamp;
use crate::hold::Hold;
use crate::hold::JobLabels;
use crate::job::Phase;
use crate::job::Priority;
use crate::job::{JobId, JobState, Lifecycle, Verdict};
use crate::tenant::TenantName;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

fn labels(tenant: &str, queue: &str) -> JobLabels {
    JobLabels {
        tenant: tenant.parse().unwrap(),
        queue: queue.parse().unwrap(),
        plugin: "p".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        digest: crate::plugin::Digest::of(b""),
    }
}

/// Pauses a queue of the default tenant.
fn pause(queue: &str) -> Hold {
    Hold::Queue { tenant: TenantName::default(), queue: queue.parse().unwrap() }
}

/// A claim of everything by an idle host.
fn want(now: i64) -> Claim {
    let (max, memory_bytes, reserve) = (usize::MAX, u64::MAX, Reserve::default());
    Claim { max, memory_bytes, idle: true, reserve, expires_at: at(now + 30), wall: at(now) }
}

struct Fixture {
    queue: Queue,
    rows: u64,
    capacity: std::sync::Arc<Capacity>,
}

impl Fixture {
    fn new() -> Self {
        // Room for every number of a job, and some.
        let limits = CapacityLimits { total: 300, ..CapacityLimits::default() };
        let queue = Queue::new(limits.head_start, at(0));
        Self { queue, rows: 0, capacity: Capacity::new(limits) }
    }

    fn add(&mut self, n: u8, lane: &str, priority: u8, due: i64) {
        self.add_of("default", (n, lane), priority, due);
    }

    fn add_of(&mut self, tenant: &str, (n, lane): (u8, &str), priority: u8, due: i64) {
        let labels = labels(tenant, lane);
        let permit = self.capacity.readmit(&labels, 0);
        self.rows += 1;
        let entry = Entry {
            labels,
            priority: priority.try_into().unwrap(),
            memory_bytes: u64::from(n),
            payload_bytes: 0,
            lifecycle: Lifecycle::new(at(due)),
            row: self.rows,
            permit,
        };
        self.queue.insert(id(n), entry, at(0));
    }

    fn claim(&mut self, max: usize, memory_bytes: u64, now: i64) -> Vec<Lease> {
        self.queue.claim(&Claim { max, memory_bytes, ..want(now) }, at(now))
    }

    fn claimed(&mut self, max: usize, now: i64) -> Vec<u8> {
        self.claim(max, u64::MAX, now).iter().map(|lease| lease.job.as_bytes()[0]).collect()
    }
}

#[test]
fn claims_of_a_queue_go_by_due_time_with_a_head_start_then_arrival() {
    let mut fixture = Fixture::new();
    for (n, priority, due) in [(1, 2, 5), (2, 2, 4), (3, 1, 9), (4, 2, 4), (5, 1, 99)] {
        fixture.add(n, "a", priority, due);
    }
    assert_eq!(fixture.claimed(2, 10), [3, 2]);
    assert_eq!(fixture.claimed(9, 10), [4, 1]);
    assert_eq!(fixture.queue.next_due(), Some(at(99)));
    assert_eq!(fixture.claimed(9, 99), [5]);
}

#[test]
fn a_job_of_the_lowest_priority_is_overtaken_for_its_head_start_and_no_longer() {
    let head_start = i64::try_from(crate::capacity::HEAD_START.as_secs()).unwrap();
    for (late, first) in [(3 * head_start - 1, 2), (3 * head_start, 1)] {
        let mut fixture = Fixture::new();
        fixture.add(1, "a", 4, 0);
        fixture.add(2, "a", 1, late);
        assert_eq!(fixture.claimed(1, late), [first], "{late} s later");
    }
}

#[test]
fn queues_of_a_tenant_share_the_workers_however_much_each_has_waiting() {
    let mut fixture = Fixture::new();
    for n in 1..=6 {
        fixture.add(n, "slow", 1, 0);
    }
    assert_eq!(fixture.claimed(3, 10), [1, 2, 3], "no other queue wants them");
    fixture.add(11, "b", 4, 9);
    fixture.add(21, "c", 3, 9);
    fixture.add(22, "c", 4, 9);
    assert_eq!(fixture.claimed(4, 10), [21, 11, 22, 4], "first the queues that run the fewest");
}

#[test]
fn a_time_that_a_client_gave_is_one_of_the_wall_clock_and_a_span_is_not() {
    let hours = 7200;
    for set in [-hours, hours] {
        let mut fixture = Fixture::new();
        fixture.add(1, "a", 2, 50);
        let (labels, permit) =
            (labels("default", "b"), fixture.capacity.readmit(&labels("default", "b"), 0));
        let lifecycle = Lifecycle { on_wall: true, ..Lifecycle::new(at(50 + set)) };
        let priority = Priority::default();
        let (memory_bytes, payload_bytes, row) = (1, 0, 100);
        let entry = Entry { labels, priority, memory_bytes, payload_bytes, lifecycle, row, permit };
        fixture.queue.insert(id(2), entry, at(0));
        let mut claim = |now: i64| {
            let want = Claim { wall: at(now + set), ..want(now) };
            (fixture.queue.claim(&want, at(now)).len(), fixture.queue.next_due())
        };
        assert_eq!(claim(49), (0, Some(at(50))), "set by {set} s");
        assert_eq!(claim(50), (2, None), "set by {set} s");
        assert_eq!(fixture.queue.take_fallen_due(), [id(2)]);
    }
}

#[test]
fn a_job_for_a_time_counts_as_scheduled_until_the_wall_clock_reaches_it() {
    for (set, depths) in [(-7200, (1, 0)), (7200, (0, 1))] {
        let mut fixture = Fixture::new();
        let (labels, permit) =
            (labels("default", "a"), fixture.capacity.readmit(&labels("default", "a"), 0));
        let lifecycle = Lifecycle { on_wall: true, ..Lifecycle::new(at(3600)) };
        let priority = Priority::default();
        let (memory_bytes, payload_bytes, row) = (1, 0, 100);
        let entry = Entry { labels, priority, memory_bytes, payload_bytes, lifecycle, row, permit };
        fixture.queue.insert(id(1), entry, at(0));
        // By the host's clock its time has come where it has not by the wall clock, and the reverse.
        let now = 3600 - set / 2;
        fixture.queue.claim(&Claim { max: 0, wall: at(now + set), ..want(now) }, at(now));
        let counts = fixture.queue.counts(at(now), &CapacityLimits::default());
        assert_eq!(
            (counts[0].parked, counts[0].depth - counts[0].parked),
            depths,
            "set by {set} s"
        );
        let phase = fixture.queue.lifecycle(id(1)).map(|lifecycle| lifecycle.phase(at(now)));
        let shown = [Phase::Available, Phase::Scheduled][depths.0];
        assert_eq!(phase, Some(shown), "set by {set} s");
    }
}

#[test]
fn a_job_that_does_not_fit_makes_those_behind_it_wait() {
    let mut fixture = Fixture::new();
    fixture.add(50, "a", 1, 0);
    fixture.add(60, "a", 2, 0);
    fixture.add(1, "a", 3, 0);
    assert_eq!(fixture.claim(9, 100, 0).len(), 1);
    assert_eq!(fixture.claim(9, 50, 0).len(), 0);
    assert_eq!(fixture.claim(9, 61, 0).len(), 2);
}

#[test]
fn on_an_idle_host_every_job_fits() {
    let mut fixture = Fixture::new();
    fixture.add(50, "a", 1, 0);
    fixture.add(1, "a", 2, 0);
    assert_eq!(fixture.claim(9, 10, 0).len(), 1);
}

impl Fixture {
    /// Its host died at once.
    fn lose(&mut self, n: u8, now: i64) {
        self.queue.reclaim(id(n), at(now));
    }

    fn complete(&mut self, n: u8, attempt: u32, now: i64) {
        let lease = Lease { job: id(n), attempt, expires_at: at(0) };
        assert!(self.queue.finish(&lease, Verdict::Complete, at(now)).is_some());
    }
}

#[test]
fn suspects_are_tried_one_at_a_time_and_hold_no_other_job_back() {
    let mut fixture = Fixture::new();
    for n in 1..=4 {
        fixture.add(n, "a", 2, i64::from(n));
    }
    assert_eq!(fixture.claimed(3, 10), [1, 2, 3]);
    for n in 1..=3 {
        fixture.lose(n, 11);
    }
    assert_eq!(fixture.claimed(9, 12), [1, 4], "the first suspect, and who is none");
    assert_eq!(fixture.claimed(9, 13), [] as [u8; 0]);
    fixture.complete(1, 2, 14);
    assert_eq!(fixture.claimed(9, 14), [2]);
    assert_eq!(fixture.claimed(9, 23), [] as [u8; 0], "the second is watched");
    assert_eq!(fixture.claimed(9, 24), [3], "it has run for ten seconds");
}

#[test]
fn a_job_that_the_next_loss_discards_runs_with_no_other_in_flight() {
    let mut fixture = Fixture::new();
    fixture.add(1, "a", 2, 0);
    fixture.add(2, "a", 2, 1);
    for now in [10, 11] {
        assert_eq!(fixture.claimed(1, now), [1]);
        fixture.lose(1, now);
    }
    fixture.add(3, "a", 1, 0);
    assert_eq!(fixture.claimed(1, 12), [3], "the more urgent one");
    assert_eq!(fixture.claimed(1, 13), [2], "while others run");
    fixture.complete(3, 1, 14);
    fixture.complete(2, 1, 14);
    assert_eq!(fixture.claimed(9, 14), [1], "alone");
    fixture.add(4, "a", 1, 0);
    assert_eq!(fixture.claimed(9, 23), [] as [u8; 0], "while it is watched");
    assert_eq!(fixture.claimed(9, 24), [4]);
}

#[test]
fn a_job_that_must_run_alone_lets_others_pass_for_a_while_and_not_for_ever() {
    let mut fixture = Fixture::new();
    fixture.add(1, "a", 2, 0);
    for now in [10, 11] {
        assert_eq!(fixture.claimed(1, now), [1]);
        fixture.lose(1, now);
    }
    fixture.add(2, "a", 1, 0);
    assert_eq!(fixture.claimed(1, 12), [2]);
    fixture.add(3, "a", 2, 20);
    assert_eq!(fixture.claimed(9, 610), [3], "it lets it pass");
    fixture.add(4, "a", 2, 20);
    assert_eq!(fixture.claimed(9, 611), [] as [u8; 0], "it has waited long enough");
    fixture.complete(2, 1, 612);
    fixture.complete(3, 1, 612);
    assert_eq!(fixture.claimed(9, 612), [1]);
}

#[test]
fn of_two_that_must_run_alone_the_second_holds_nobody_back_while_the_first_runs() {
    let mut fixture = Fixture::new();
    for (n, lane) in [(1, "a"), (2, "b")] {
        fixture.add(n, lane, 2, i64::from(n));
        for now in [10, 11] {
            assert_eq!(fixture.claimed(1, now), [n]);
            fixture.lose(n, now);
        }
        fixture.queue.set_held(pause(lane), true);
    }
    fixture.queue.set_held(pause("a"), false);
    fixture.queue.set_held(pause("b"), false);
    assert_eq!(fixture.claimed(9, 300), [1]);
    fixture.add(3, "a", 4, 5);
    assert_eq!(fixture.claimed(9, 2_000), [3], "however long the second has waited");
    fixture.complete(1, 3, 2_001);
    fixture.complete(3, 1, 2_001);
    assert_eq!(fixture.claimed(9, 2_001), [2]);
}

#[test]
fn a_paused_queue_is_passed_by_and_counted() {
    let mut fixture = Fixture::new();
    fixture.add(1, "a", 1, 0);
    fixture.add(2, "b", 2, 0);
    fixture.queue.set_held(pause("a"), true);
    fixture.add(3, "a", 1, 0);
    assert_eq!(fixture.claimed(9, 10), [2]);
    let counts = fixture.queue.counts(at(10), &CapacityLimits::default());
    assert_eq!((counts[0].depth, counts[0].paused, counts[0].oldest_age_ms), (2, true, 10_000));
    fixture.queue.set_held(pause("a"), false);
    assert_eq!(fixture.claimed(9, 10), [1, 3]);
}

#[test]
fn jobs_under_a_hold_of_any_kind_are_skipped() {
    for n in 0..5 {
        let mut fixture = Fixture::new();
        fixture.add_of("acme", (1, "a"), 1, 0);
        let hold = Hold::over(&labels("acme", "a"))[n].clone();
        fixture.queue.set_held(hold.clone(), true);
        fixture.add_of("acme", (2, "a"), 1, 0);
        assert_eq!(fixture.claimed(9, 10), [] as [u8; 0], "{hold:?}");
        assert_eq!(fixture.queue.holds(), std::slice::from_ref(&hold));
        assert_eq!(fixture.queue.covered(&hold, 9).len(), 2);
        fixture.queue.set_held(hold, false);
        assert_eq!(fixture.claimed(9, 10), [1, 2]);
    }
}

#[test]
fn a_job_that_two_things_hold_waits_for_both() {
    let mut fixture = Fixture::new();
    fixture.add(1, "a", 1, 0);
    let tenant = Hold::Tenant(TenantName::default());
    fixture.queue.set_held(pause("a"), true);
    fixture.queue.set_held(tenant.clone(), true);
    fixture.queue.set_held(pause("a"), false);
    assert_eq!(fixture.claimed(9, 10), [] as [u8; 0]);
    fixture.queue.set_held(tenant, false);
    assert_eq!(fixture.claimed(9, 10), [1]);
}

#[test]
fn a_hold_on_code_passes_by_all_that_it_covers_at_once_and_moves_them_by_and_by() {
    let mut queue = Queue::new(Duration::ZERO, at(0));
    let capacity = Capacity::new(CapacityLimits::default());
    let number = |n: u64| {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        JobId::from_bytes(bytes)
    };
    let [held, other] = ["held", "other"]
        .map(|plugin| JobLabels { plugin: plugin.parse().unwrap(), ..labels("default", "a") });
    const COVERED: u64 = 2000;
    for n in 0..=COVERED {
        let labels = if n < COVERED { held.clone() } else { other.clone() };
        let permit = capacity.readmit(&labels, 0);
        let (priority, lifecycle) = (Priority::default(), Lifecycle::new(at(0)));
        let (memory_bytes, payload_bytes, row) = (1, 0, n);
        let entry = Entry { labels, priority, memory_bytes, payload_bytes, lifecycle, row, permit };
        queue.insert(number(n), entry, at(0));
    }
    let hold = Hold::Plugin { tenant: held.tenant, plugin: held.plugin };
    queue.set_held(hold.clone(), true);
    let mut claims = 0;
    let begun = loop {
        let leases = queue.claim(&want(1), at(1));
        claims += 1;
        if let [lease] = leases[..] {
            break lease.job;
        }
        assert_eq!(queue.next_due(), Some(at(1)), "there is more to be looked at");
    };
    assert_eq!((begun, claims), (number(COVERED), 4), "each claim looks at some");
    while queue.is_sweeping() {
        queue.sweep();
    }
    assert_eq!((queue.has_due(), queue.next_due()), (false, None));
    queue.set_held(hold, false);
    while queue.is_sweeping() {
        queue.sweep();
    }
    assert_eq!(queue.claim(&want(1), at(1)).len() as u64, COVERED);
}

#[derive(Debug, Clone)]
enum Step {
    Add { n: u8, lane: u8, priority: u8, due: i64 },
    Claim { max: usize },
    Finish { n: u8, verdict: u8 },
    Cancel { n: u8 },
    Reclaim { n: u8 },
    Redrive { n: u8 },
    Pause { lane: u8, paused: bool },
    Advance { by: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), 0..3u8, 1..=4u8, 0..50i64)
            .prop_map(|(n, lane, priority, due)| Step::Add { n, lane, priority, due }),
        3 => (0..5usize).prop_map(|max| Step::Claim { max }),
        3 => (any::<u8>(), 0..5u8).prop_map(|(n, verdict)| Step::Finish { n, verdict }),
        1 => any::<u8>().prop_map(|n| Step::Cancel { n }),
        1 => any::<u8>().prop_map(|n| Step::Reclaim { n }),
        1 => any::<u8>().prop_map(|n| Step::Redrive { n }),
        1 => (0..3u8, any::<bool>()).prop_map(|(lane, paused)| Step::Pause { lane, paused }),
        2 => (0..20i64).prop_map(|by| Step::Advance { by }),
    ]
}

impl Fixture {
    /// The slow way to say what a claim takes first.
    fn first_due(&self, now: i64) -> Option<JobId> {
        let due = self.queue.slots.iter().filter(|(_, slot)| {
            let lifecycle = &slot.entry.lifecycle;
            lifecycle.state == JobState::Available
                && lifecycle.scheduled_at <= at(now)
                && !self.is_held(&slot.entry.labels)
        });
        let running = |slot: &Slot| {
            let lane = |other: &&Slot| other.entry.labels.queue == slot.entry.labels.queue;
            self.queue
                .slots
                .values()
                .filter(|slot| slot.home() == Some(Home::Running))
                .filter(lane)
                .count()
        };
        let head_start = self.queue.head_start;
        // Lanes that come before the claim have their turn by then.
        let served = |slot: &Slot| self.queue.lanes.served(&slot.entry.labels);
        due.min_by_key(|(_, slot)| (running(slot), served(slot), slot.place(head_start)))
            .map(|(id, _)| *id)
    }

    fn is_held(&self, labels: &JobLabels) -> bool {
        Hold::over(labels).iter().any(|hold| hold.is_in(&self.queue.holds))
    }

    fn apply(&mut self, step: Step, now: &mut i64) {
        match step {
            Step::Add { n, lane, priority, due } => {
                if self.queue.lifecycle(id(n)).is_none() {
                    self.add(n, ["a", "b", "c"][usize::from(lane)], priority, due);
                }
            }
            Step::Claim { max } => {
                self.queue.pass_time(at(*now));
                for _ in 0..max {
                    let first = self.first_due(*now);
                    let nothing_lost =
                        !self.queue.slots.values().any(|s| s.entry.lifecycle.lost > 0);
                    let taken = self.claim(1, u64::MAX, *now);
                    if nothing_lost {
                        assert_eq!(taken.first().map(|lease| lease.job), first);
                    }
                }
            }
            Step::Finish { n, verdict } => {
                let attempt = self.queue.lifecycle(id(n)).map_or(1, |l| l.attempt);
                let later = at(*now + 10);
                let verdict = match verdict {
                    0 => Verdict::Complete,
                    1 => Verdict::Discard,
                    2 => Verdict::Retry { at: later },
                    3 => Verdict::Release { at: at(*now), refused: false },
                    _ => Verdict::Cancel,
                };
                let stale = Lease { job: id(n), attempt: attempt + 1, expires_at: later };
                assert_eq!(self.queue.finish(&stale, verdict, at(*now)), None);
                self.queue.finish(&Lease { attempt, ..stale }, verdict, at(*now));
            }
            Step::Cancel { n } => drop(self.queue.request_cancel(id(n), at(*now))),
            Step::Reclaim { n } => drop(self.queue.reclaim(id(n), at(*now))),
            Step::Redrive { n } => drop(self.queue.redrive(id(n), at(*now))),
            Step::Pause { lane, paused } => {
                self.queue.set_held(pause(["a", "b", "c"][usize::from(lane)]), paused);
            }
            Step::Advance { by } => *now += by,
        }
    }

    fn check(&self, now: i64) {
        let queue = &self.queue;
        let running = queue.slots.values().filter(|s| s.entry.lifecycle.state == JobState::Running);
        let running = running.count();
        assert_eq!(queue.running.len(), running);
        assert_eq!(queue.loads.values().map(|l| l.running).sum::<usize>(), running);
        let waiting: usize = queue.loads.values().map(counts::Load::waiting).sum();
        assert_eq!(waiting + running, queue.len());
        let (due, in_flight) = queue.lanes.totals();
        assert_eq!((due + queue.future.len(), in_flight), (waiting, running));
        assert!(queue.slots.values().all(|s| !s.entry.lifecycle.state.is_finalized()));
        let tried = queue.slots.iter().filter(|(_, s)| {
            s.entry.lifecycle.state == JobState::Running && s.entry.lifecycle.is_suspect()
        });
        assert_eq!(queue.running_suspects, tried.map(|(id, _)| *id).collect());
        let watched: Vec<_> =
            queue.running_suspects.iter().filter_map(|id| queue.lifecycle(*id)).collect();
        let watched: Vec<_> = watched.into_iter().filter(|l| l.is_watched(at(now))).collect();
        assert!(watched.len() <= 1, "two suspects are watched at once");
    }
}

proptest! {
    #[test]
    fn every_history_leaves_the_indexes_true(steps in proptest::collection::vec(step(), 1..200)) {
        let mut fixture = Fixture::new();
        let mut now = 0;
        for step in steps {
            fixture.apply(step, &mut now);
            fixture.check(now);
        }
        let places = fixture.queue.len();
        let spare = fixture.capacity.limits().total - places;
        let lane = labels("default", "z");
        let permits: Vec<_> =
            std::iter::from_fn(|| fixture.capacity.readmit(&lane, 0).into()).take(spare).collect();
        prop_assert!(fixture.capacity.reserve(&labels("default", "y"), 0, Side::Due).is_err());
        drop(permits);
    }
}
