//! The steps of random histories, and how likely each is.

use std::sync::Arc;

use jobwright_core::clock::Timestamp;
use jobwright_core::host::HostId;
use jobwright_core::job::{JobId, NewJob, Phase, QueueName, Verdict};
use jobwright_core::limits::Limits;
use jobwright_core::store::{JobFilter, Retention};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use super::drafts::{Draft as _, job, named};
use super::fixture::HOSTS;

/// A call of a store. Jobs and leases are picked among the existing ones.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Enqueue(Vec<Sketch>),
    Claim {
        host: HostId,
        max: usize,
        memory_bytes: u64,
        idle: bool,
        lease_ms: i64,
    },
    /// Every lease so far.
    Renew {
        lease_ms: i64,
    },
    /// One of the latest leases, live or not.
    Finish {
        newest: usize,
        ending: Ending,
    },
    Cancel(usize),
    Redrive(usize),
    Reclaim {
        most: usize,
    },
    Pause {
        queue: QueueName,
        paused: bool,
    },
    Prune {
        age_ms: i64,
    },
    List {
        filter: JobFilter,
        most: usize,
    },
    Advance {
        ms: i64,
    },
    Crash,
}

/// The unit of payload lengths, in bytes. Payloads have up to eight units; some are too long for the row
/// of a job.
pub(super) const PAYLOAD_UNIT: u64 = 250;

/// A job to be enqueued.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    queue: &'static str,
    priority: u8,
    memory: u64,
    delay_ms: i64,
    ttl_ms: Option<u64>,
    deadline_ms: Option<u64>,
    payload: usize,
    key: Option<(&'static str, &'static str)>,
}

impl Sketch {
    /// The job that it describes, enqueued at `now`.
    pub(super) fn job(&self, now: Timestamp) -> NewJob {
        let mut draft = job()
            .queue(self.queue)
            .priority(self.priority)
            .memory(self.memory)
            .due(later(now, self.delay_ms))
            .payload(vec![b'x'; self.payload * PAYLOAD_UNIT as usize]);
        draft.id = JobId::new(now);
        let spec = Arc::make_mut(&mut draft.spec);
        (spec.ttl_ms, spec.deadline_ms) = (self.ttl_ms, self.deadline_ms);
        if let Some((key, body)) = self.key {
            draft = draft.key(key, body);
        }
        if let Some(key) = &mut draft.dedup {
            key.until = later(now, 20_000);
        }
        draft
    }
}

/// How an attempt ends.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    Complete,
    Retry { ms: i64 },
    Snooze { ms: i64 },
    Discard,
    Cancel,
    Release { ms: i64, refused: bool },
}

impl Ending {
    /// Its verdict at `now`.
    pub(super) fn verdict(&self, now: Timestamp) -> Verdict {
        match *self {
            Self::Complete => Verdict::Complete,
            Self::Retry { ms } => Verdict::Retry { at: later(now, ms) },
            Self::Snooze { ms } => Verdict::Snooze { at: later(now, ms) },
            Self::Discard => Verdict::Discard,
            Self::Cancel => Verdict::Cancel,
            Self::Release { ms, refused } => Verdict::Release { at: later(now, ms), refused },
        }
    }
}

/// `ms` milliseconds after `now`, or before it.
pub(super) fn later(now: Timestamp, ms: i64) -> Timestamp {
    Timestamp::from_microsecond(now.as_microsecond() + ms * 1000).expect("a time in the calendar")
}

/// A retention that prunes discarded jobs at twice the age of others.
pub(super) fn older_than(now: Timestamp, age_ms: i64) -> Retention {
    let (completed_before, discarded_before) = (later(now, -age_ms), later(now, -2 * age_ms));
    Retention { completed_before, discarded_before, now }
}

/// Histories of at most `most` steps, and no fewer than a quarter of that.
pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(step(), most / 4..=most)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => vec(sketch(), 1..5).prop_map(Step::Enqueue),
        8 => (select(&HOSTS[..]), 0_usize..4, room(), any::<bool>(), span()).prop_map(
            |(host, max, memory_bytes, idle, lease_ms)| {
                Step::Claim { host, max, memory_bytes, idle, lease_ms }
            }
        ),
        2 => span().prop_map(|lease_ms| Step::Renew { lease_ms }),
        10 => (0_usize..5, ending()).prop_map(|(newest, ending)| Step::Finish { newest, ending }),
        3 => any::<usize>().prop_map(Step::Cancel),
        5 => any::<usize>().prop_map(Step::Redrive),
        3 => (0_usize..4).prop_map(|most| Step::Reclaim { most }),
        2 => (queue(), any::<bool>())
            .prop_map(|(queue, paused)| Step::Pause { queue: named(queue), paused }),
        1 => span().prop_map(|age_ms| Step::Prune { age_ms }),
        2 => (filter(), 1_usize..6).prop_map(|(filter, most)| Step::List { filter, most }),
        5 => span().prop_map(|ms| Step::Advance { ms }),
        2 => Just(Step::Crash),
    ]
}

/// Memory for no, one, two or all jobs.
fn room() -> impl Strategy<Value = u64> {
    let each = Limits::ATTEMPT_BYTES;
    select(vec![0, each + 5, 2 * each + 12, u64::MAX])
}

/// Few different spans, so that times coincide.
fn span() -> impl Strategy<Value = i64> {
    select(vec![0, 1, 500, 1000, 5000, 20_000])
}

fn queue() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "c"])
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let key = (select(vec!["k", "l"]), select(vec!["body", "other"]));
    let when = prop_oneof![3 => Just(0), 1 => span()];
    let bound = || option::weighted(0.2, select(vec![500, 1000, 5000, 20_000]));
    let times = (when, bound(), bound());
    (queue(), 1_u8..=4, select(vec![1, 4, 9]), times, 0_usize..9, option::weighted(0.3, key))
        .prop_map(|(queue, priority, memory, (delay_ms, ttl_ms, deadline_ms), payload, key)| {
            Sketch { queue, priority, memory, delay_ms, ttl_ms, deadline_ms, payload, key }
        })
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => Just(Ending::Complete),
        3 => span().prop_map(|ms| Ending::Retry { ms }),
        1 => span().prop_map(|ms| Ending::Snooze { ms }),
        1 => Just(Ending::Discard),
        1 => Just(Ending::Cancel),
        2 => (span(), any::<bool>()).prop_map(|(ms, refused)| Ending::Release { ms, refused }),
    ]
}

fn filter() -> impl Strategy<Value = JobFilter> {
    let phases = vec![
        Phase::Scheduled,
        Phase::Available,
        Phase::Retryable,
        Phase::Running,
        Phase::Completed,
        Phase::Discarded,
        Phase::Cancelled,
        Phase::Expired,
    ];
    (option::of(select(phases)), option::of(queue())).prop_map(|(phase, queue)| JobFilter {
        phase,
        queue: queue.map(named),
        ..JobFilter::default()
    })
}
