//! A queue with what most tests do to it.

use std::sync::Arc;

use crate::attempt::Lease;
use crate::capacity::{Capacity, CapacityLimits};
use crate::clock::Timestamp;
use crate::hold::{Hold, JobLabels};
use crate::host::HostId;
use crate::job::{JobId, Lifecycle, Verdict};
use crate::queue::{Claim, Entry, Queue, Reserve};
use crate::tenant::TenantName;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

pub(super) fn labels(tenant: &str, queue: &str) -> Arc<JobLabels> {
    Arc::new(JobLabels {
        tenant: tenant.parse().unwrap(),
        queue: queue.parse().unwrap(),
        plugin: "p".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        digest: crate::plugin::Digest::of(b""),
    })
}

/// Pauses a queue of the default tenant.
pub(super) fn pause(queue: &str) -> Hold {
    Hold::Queue { tenant: TenantName::default(), queue: queue.parse().unwrap() }
}

/// The hosts.
pub(super) const HOSTS: [HostId; 2] = [HostId::from_random([1; 16]), HostId::from_random([2; 16])];

/// A claim of everything by the first host, which is idle as far as it knows.
pub(super) fn want(now: i64) -> Claim {
    let (max, memory_bytes, reserve) = (usize::MAX, u64::MAX, Reserve::default());
    let (host, expires_at, wall) = (HOSTS[0], at(now + 30), at(now));
    Claim { host, max, memory_bytes, idle: true, reserve, expires_at, wall }
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
        self.claimed_by(HOSTS[0], max, now)
    }

    pub(super) fn claimed_by(&mut self, host: HostId, max: usize, now: i64) -> Vec<u8> {
        let leases = self.queue.claim(&Claim { host, max, ..want(now) }, at(now));
        leases.iter().map(|lease| lease.job.as_bytes()[0]).collect()
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
        let permit = capacity.readmit(&labels(self.tenant, lane), 0);
        *rows += 1;
        let entry = Entry {
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
        let host = self.queue.lifecycle(id(n)).and_then(|job| job.host).expect("it runs");
        let lease = Lease { job: id(n), attempt, host, expires_at: at(0) };
        assert!(self.queue.finish(&lease, Verdict::Complete, at(now)).is_some());
    }
}
