//! Random histories: every order of the index stays complete, and claims go by the order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::fixture::{Fixture, HOSTS, at, id, labels, pause, want};
use crate::attempt::Lease;
use crate::capacity::Side;
use crate::hold::{Hold, JobLabels};
use crate::host::HostId;
use crate::job::{JobId, JobState, Verdict};
use crate::queue::entry::{Home, Slot};
use crate::queue::{Claim, counts};

#[derive(Debug, Clone)]
enum Step {
    Add { n: u8, lane: u8, priority: u8, due: i64 },
    Claim { host: usize, max: usize },
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
        3 => (0..2usize, 0..5usize).prop_map(|(host, max)| Step::Claim { host, max }),
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
                && !self.is_held(slot.entry.labels())
        });
        let running = |slot: &Slot| {
            let lane = |other: &&Slot| other.entry.labels().queue == slot.entry.labels().queue;
            self.queue
                .slots
                .values()
                .filter(|slot| slot.home() == Some(Home::Running))
                .filter(lane)
                .count()
        };
        let head_start = self.queue.head_start;
        // Lanes that come before the claim have their turn by then.
        let served = |slot: &Slot| self.queue.lanes.served(slot.entry.labels());
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
            Step::Claim { host, max } => {
                self.queue.pass_time(at(*now));
                for _ in 0..max {
                    let first = self.first_due(*now);
                    let nothing_lost =
                        !self.queue.slots.values().any(|s| s.entry.lifecycle.lost > 0);
                    let want = Claim { host: HOSTS[host], max: 1, ..want(*now) };
                    let taken = self.queue.claim(&want, at(*now));
                    if nothing_lost {
                        assert_eq!(taken.first().map(|lease| lease.job), first);
                    }
                }
            }
            Step::Finish { n, verdict } => self.finish(n, verdict, *now),
            Step::Cancel { n } => drop(self.queue.request_cancel(id(n), at(*now))),
            Step::Reclaim { n } => drop(self.queue.reclaim(id(n), at(*now))),
            Step::Redrive { n } => drop(self.queue.redrive(id(n), at(*now))),
            Step::Pause { lane, paused } => {
                self.queue.set_held(pause(["a", "b", "c"][usize::from(lane)]), paused);
            }
            Step::Advance { by } => *now += by,
        }
    }

    /// Finishes the attempt that runs, and no other.
    fn finish(&mut self, n: u8, verdict: u8, now: i64) {
        let job = self.queue.lifecycle(id(n)).cloned();
        let (attempt, host) = job.map_or((1, None), |job| (job.attempt, job.host));
        let host = host.unwrap_or(HOSTS[0]);
        let later = at(now + 10);
        let verdict = match verdict {
            0 => Verdict::Complete,
            1 => Verdict::Discard,
            2 => Verdict::Retry { at: later },
            3 => Verdict::Release { at: at(now), refused: false },
            _ => Verdict::Cancel,
        };
        let held = Lease { job: id(n), attempt, host, expires_at: later };
        let other = HOSTS.into_iter().find(|other| *other != host).expect("there are two");
        for lease in [Lease { attempt: attempt + 1, ..held }, Lease { host: other, ..held }] {
            assert_eq!(self.queue.finish(&lease, verdict, at(now)), None);
        }
        self.queue.finish(&held, verdict, at(now));
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
        let on_hosts: usize = queue.hosts.in_flight().map(|(_, running, _)| running).sum();
        assert_eq!(on_hosts, running);
        for (host, running, suspects) in queue.hosts.in_flight() {
            self.check_host(host, running, suspects, now);
        }
    }

    fn check_host(&self, host: HostId, running: usize, suspects: &BTreeSet<JobId>, now: i64) {
        let jobs = self.queue.slots.iter().map(|(id, slot)| (*id, &slot.entry.lifecycle));
        let jobs: Vec<_> = jobs.filter(|(_, job)| job.host == Some(host)).collect();
        assert!(jobs.iter().all(|(_, job)| job.state == JobState::Running));
        assert_eq!(jobs.len(), running);
        let tried = jobs.iter().filter(|(_, job)| job.is_suspect());
        assert_eq!(*suspects, tried.map(|(id, _)| *id).collect());
        let watched: Vec<_> = jobs.iter().filter(|(_, job)| job.is_watched(at(now))).collect();
        assert!(watched.len() <= 1, "two suspects are watched at once");
        let is_alone = watched.iter().all(|(_, job)| !job.runs_alone()) || running == 1;
        assert!(is_alone, "others run beside a job that must run alone");
    }
}

proptest! {
    #[test]
    fn every_history_leaves_consistent_indexes(steps in proptest::collection::vec(step(), 1..200)) {
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
