//! A queue with what most tests do to it.

use std::sync::Arc;

use crate::attempt::Lease;
use crate::capacity::{Capacity, CapacityLimits};
use crate::clock::Timestamp;
use crate::hold::{Hold, JobLabels};
use crate::job::{JobId, Lifecycle, Verdict};
use crate::queue::{Claim, Entry, Queue, Reserve};
use crate::tenant::TenantName;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

pub(super) fn labels(tenant: &str, queue: &str) -> JobLabels {
    JobLabels {
        tenant: tenant.parse().unwrap(),
        queue: queue.parse().unwrap(),
        plugin: "p".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        digest: crate::plugin::Digest::of(b""),
    }
}

/// Pauses a queue of the default tenant.
pub(super) fn pause(queue: &str) -> Hold {
    Hold::Queue { tenant: TenantName::default(), queue: queue.parse().unwrap() }
}

/// A claim of everything by an idle host.
pub(super) fn want(now: i64) -> Claim {
    let (max, memory_bytes, reserve) = (usize::MAX, u64::MAX, Reserve::default());
    Claim { max, memory_bytes, idle: true, reserve, expires_at: at(now + 30), wall: at(now) }
}

pub(super) struct Fixture {
    pub(super) queue: Queue,
    pub(super) rows: u64,
    pub(super) capacity: Arc<Capacity>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        // Room for every number of a job, and some.
        let limits = CapacityLimits { total: 300, ..CapacityLimits::default() };
        let queue = Queue::new(limits.head_start, at(0));
        Self { queue, rows: 0, capacity: Capacity::new(limits) }
    }

    /// Adds a job of the default tenant.
    pub(super) fn add(&mut self, n: u8, lane: &str, priority: u8, due: i64) {
        self.of("default").add(n, lane, priority, due);
    }

    /// Adds jobs of another tenant.
    pub(super) fn of<'a>(&'a mut self, tenant: &'a str) -> OfTenant<'a> {
        OfTenant { fixture: self, tenant }
    }

    pub(super) fn claim(&mut self, max: usize, memory_bytes: u64, now: i64) -> Vec<Lease> {
        self.queue.claim(&Claim { max, memory_bytes, ..want(now) }, at(now))
    }

    pub(super) fn claimed(&mut self, max: usize, now: i64) -> Vec<u8> {
        self.claim(max, u64::MAX, now).iter().map(|lease| lease.job.as_bytes()[0]).collect()
    }
}

/// What a tenant adds.
pub(super) struct OfTenant<'a> {
    fixture: &'a mut Fixture,
    tenant: &'a str,
}

impl OfTenant<'_> {
    pub(super) fn add(self, n: u8, lane: &str, priority: u8, due: i64) {
        let Fixture { queue, rows, capacity } = self.fixture;
        let labels = labels(self.tenant, lane);
        let permit = capacity.readmit(&labels, 0);
        *rows += 1;
        let entry = Entry {
            labels,
            priority: priority.try_into().unwrap(),
            memory_bytes: u64::from(n),
            payload_bytes: 0,
            lifecycle: Lifecycle::new(at(due)),
            row: *rows,
            permit,
        };
        queue.insert(id(n), entry, at(0));
    }
}

impl Fixture {
    /// Its host died at once.
    pub(super) fn lose(&mut self, n: u8, now: i64) {
        self.queue.reclaim(id(n), at(now));
    }

    pub(super) fn complete(&mut self, n: u8, attempt: u32, now: i64) {
        let lease = Lease { job: id(n), attempt, expires_at: at(0) };
        assert!(self.queue.finish(&lease, Verdict::Complete, at(now)).is_some());
    }
}
