//! What a job costs the queue in memory: to be enqueued, claimed and finished, by the number of lanes among which
//! the jobs are spread. Run it with `cargo bench -p jobwright-core`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobwright_core::attempt::Lease;
use jobwright_core::capacity::{Capacity, CapacityLimits};
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::JobLabels;
use jobwright_core::host::HostId;
use jobwright_core::job::{JobId, Lifecycle, Priority, Verdict};
use jobwright_core::plugin::Digest;
use jobwright_core::queue::{Claim, Entry, Queue, Reserve, Room};

/// The jobs of a round.
const JOBS: u64 = 100_000;

/// The jobs of one claim: a quarter of the slots of a host.
const CLAIMED: usize = 16;

/// Rounds, of which the fastest counts: other work on the machine only adds to it.
const ROUNDS: usize = 7;

/// How jobs are spread over lanes.
#[derive(Clone, Copy)]
struct Spread {
    tenants: u64,
    /// Of each tenant.
    queues: u64,
}

impl Spread {
    fn labels(self) -> Vec<Arc<JobLabels>> {
        let lanes = (0..self.tenants).flat_map(|t| (0..self.queues).map(move |q| (t, q)));
        let lanes = lanes.map(|(tenant, queue)| JobLabels {
            tenant: format!("tenant-{tenant}").parse().expect("a name"),
            queue: format!("queue-{queue}").parse().expect("a name"),
            plugin: "echo".parse().expect("a name"),
            version: "1.0.0".parse().expect("a version"),
            digest: Digest::of(b""),
        });
        lanes.map(Arc::new).collect()
    }
}

/// What a round took.
#[derive(Clone, Copy)]
struct Spent {
    enqueue: Duration,
    claim: Duration,
    finish: Duration,
}

impl Spent {
    fn least(self, other: Self) -> Self {
        Self {
            enqueue: self.enqueue.min(other.enqueue),
            claim: self.claim.min(other.claim),
            finish: self.finish.min(other.finish),
        }
    }
}

fn number(n: u64) -> JobId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    JobId::from_bytes(bytes)
}

#[expect(clippy::disallowed_methods, reason = "it measures the time that passes")]
fn timed<A>(spent: &mut Duration, step: impl FnOnce() -> A) -> A {
    let since = Instant::now();
    let answer = step();
    *spent += since.elapsed();
    answer
}

fn enqueue(queue: &mut Queue, labels: &[Arc<JobLabels>], capacity: &Arc<Capacity>) {
    for (n, labels) in (0..JOBS).zip(labels.iter().cycle()) {
        let permit = capacity.readmit(labels, 0);
        let entry = Entry {
            priority: Priority::default(),
            memory_bytes: 64 << 20,
            payload_bytes: 100,
            lifecycle: Lifecycle::new(Timestamp::UNIX_EPOCH),
            row: n,
            permit,
        };
        queue.insert(number(n), entry, Timestamp::UNIX_EPOCH);
    }
}

fn round(labels: &[Arc<JobLabels>]) -> Spent {
    let limits = CapacityLimits::default();
    let (capacity, now) = (Capacity::new(limits), Timestamp::UNIX_EPOCH);
    let mut queue = Queue::new(limits.head_start, now);
    let zero = Duration::ZERO;
    let mut spent = Spent { enqueue: zero, claim: zero, finish: zero };
    timed(&mut spent.enqueue, || enqueue(&mut queue, labels, &capacity));
    let host = Room { attempts: 64, memory_bytes: 64 << 30 };
    let want = Claim {
        host: HostId::from_random([1; 16]),
        max: CLAIMED,
        memory_bytes: host.memory_bytes,
        idle: false,
        reserve: Reserve::new(host, 8),
        expires_at: now,
        wall: now,
    };
    loop {
        let leases = timed(&mut spent.claim, || black_box(queue.claim(&want, now)));
        if leases.is_empty() {
            return spent;
        }
        let finish = |lease: &Lease| queue.finish(lease, Verdict::Complete, now);
        timed(&mut spent.finish, || {
            leases.iter().filter_map(finish).for_each(|it| drop(black_box(it)))
        });
    }
}

fn main() {
    println!("ns a job            enqueue   claim  finish     sum");
    for (name, tenants, queues) in [
        ("1 lane", 1, 1),
        ("100 queues", 1, 100),
        ("100 tenants", 100, 1),
        ("10,000 queues", 1, 10_000),
        ("10,000 tenants", 10_000, 1),
    ] {
        let labels = Spread { tenants, queues }.labels();
        let rounds = (0..ROUNDS).map(|_| round(&labels));
        let Some(Spent { enqueue, claim, finish }) = rounds.reduce(Spent::least) else { return };
        let each = [enqueue, claim, finish, enqueue + claim + finish];
        let [a, b, c, d] = each.map(|spent| spent.as_nanos() / u128::from(JOBS));
        println!("{name:<16} {a:>10} {b:>7} {c:>7} {d:>7}");
    }
}
