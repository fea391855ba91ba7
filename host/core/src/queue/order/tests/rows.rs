//! The rows of tenants and lanes, and picks from them.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::clock::Timestamp;
use crate::job::{JobId, Priority, QueueName};
use crate::queue::order::{self, *};

pub(super) const HEAD_START: Duration = Duration::from_secs(300);

/// The present time of the tests, in seconds.
pub(super) const NOW: i64 = 10_000;

/// Memory for every job.
pub(super) const ENOUGH: u64 = u64::MAX;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[derive(Debug, Clone)]
pub(super) struct LaneRow {
    pub(super) queue: QueueName,
    pub(super) share: Share,
    pub(super) is_held: bool,
    pub(super) jobs: Vec<(Place, Due)>,
}

#[derive(Debug, Clone)]
pub(super) struct TenantRow {
    pub(super) share: Share,
    pub(super) limit: Option<usize>,
    pub(super) lanes: Vec<LaneRow>,
}

/// All rows, in no order, with the turns that there were.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) tenants: Vec<TenantRow>,
    pub(super) turns: u64,
}

impl LaneRow {
    pub(super) fn new(queue: &str, jobs: Vec<(Place, Due)>) -> Self {
        let queue = queue.parse().unwrap();
        Self { queue, share: Share::default(), is_held: false, jobs }
    }

    /// The first job of each kind.
    fn heads(&self) -> impl Iterator<Item = Head<'_>> {
        let kinds = [Trust::Trusted, Trust::Suspect, Trust::Alone];
        kinds.into_iter().filter_map(|trust| {
            let jobs = self.jobs.iter().filter(|(_, due)| due.trust == trust);
            let (place, due) = *jobs.min_by_key(|(place, _)| *place)?;
            let (queue, share, is_held) = (&self.queue, self.share, self.is_held);
            Some(Head { queue, share, is_held, place, due })
        })
    }
}

impl TenantRow {
    pub(super) fn new(lanes: Vec<LaneRow>) -> Self {
        Self { share: Share::default(), limit: None, lanes }
    }

    pub(super) fn heads(&self) -> Vec<Head<'_>> {
        let mut heads: Vec<_> = self.lanes.iter().flat_map(LaneRow::heads).collect();
        heads.sort_by_key(Head::turn);
        heads
    }
}

impl Rows {
    pub(super) fn new(tenants: Vec<TenantRow>) -> Self {
        Self { tenants, turns: 1_000 }
    }

    pub(super) fn pick(&self, in_flight: InFlight, want: &Want<'_>) -> Pick {
        let mut tenants: Vec<_> = self.tenants.iter().collect();
        tenants.sort_by_key(|tenant| tenant.share.turn());
        let tenants = tenants.into_iter().map(|row| {
            let (share, limit) = (row.share, row.limit);
            Tenant { share, limit, lanes: row.heads() }
        });
        order::pick(View { in_flight, tenants }, want, at(NOW))
    }

    /// The tenant and the lane of a job.
    pub(super) fn find(&self, due: &Due) -> (&TenantRow, &LaneRow) {
        let lanes = self.tenants.iter().flat_map(|it| it.lanes.iter().map(move |lane| (it, lane)));
        let holds = |lane: &LaneRow| lane.jobs.iter().any(|(_, job)| job.id == due.id);
        lanes.into_iter().find(|(_, lane)| holds(lane)).unwrap()
    }

    /// Begins a job that was picked. Its lane keeps it: there is always more of it.
    pub(super) fn begin(&mut self, due: &Due, want: &Want<'_>) {
        self.turns += 2;
        let turn = self.turns;
        for tenant in &mut self.tenants {
            let TenantRow { share, limit, lanes } = tenant;
            let holds = |lane: &&mut LaneRow| lane.jobs.iter().any(|(_, job)| job.id == due.id);
            let Some(lane) = lanes.iter_mut().find(holds) else { continue };
            let shares = Shares { tenant: share, limit: *limit, lane: &mut lane.share, turn };
            order::begin(due, shares, want, at(NOW));
            for share in [share, &mut lane.share] {
                share.running.add(due.memory_bytes);
                share.here.add(due.memory_bytes);
            }
        }
    }
}

impl Rows {
    /// Ends the attempt at a job.
    pub(super) fn end(&mut self, due: &Due) {
        for TenantRow { share, lanes, .. } in &mut self.tenants {
            let holds = |lane: &&mut LaneRow| lane.jobs.iter().any(|(_, job)| job.id == due.id);
            let Some(lane) = lanes.iter_mut().find(holds) else { continue };
            for share in [share, &mut lane.share] {
                share.running.take(due.memory_bytes);
                share.here.take(due.memory_bytes);
            }
        }
    }
}

/// A host that is not idle, with this much room, where no share leaves anything free.
pub(super) fn room(memory_bytes: u64) -> Want<'static> {
    static NOTHING: LazyLock<Reserve> = LazyLock::new(Reserve::default);
    Want { free: Room { attempts: 1, memory_bytes }, idle: false, reserve: &NOTHING }
}

/// A job of the default priority that takes 10 bytes.
pub(super) fn job(n: u8, since: i64) -> (Place, Due) {
    let since = at(since);
    let place = Place::new(since, Priority::default(), HEAD_START, n.into());
    let id = JobId::from_bytes([n; 16]);
    (place, Due { id, memory_bytes: 10, since, trust: Trust::Trusted })
}

/// What one job may be like: its priority, when it is due, its memory and its kind.
type Sketch = (u8, i64, u64, Trust);

fn sketch() -> impl Strategy<Value = Sketch> {
    let trust = prop_oneof![
        6 => Just(Trust::Trusted),
        1 => Just(Trust::Suspect),
        1 => Just(Trust::Alone)
    ];
    (1..=4_u8, NOW - 1_200..=NOW, 1..=20_u64, trust)
}

fn share() -> impl Strategy<Value = Share> {
    (0..4_usize, 0..500_u64).prop_map(|(attempts, served)| {
        let running = Room { attempts, memory_bytes: 10 * attempts as u64 };
        Share { running, here: running, served: 2 * served, ..Share::default() }
    })
}

fn lane() -> impl Strategy<Value = (Share, bool, Vec<Sketch>)> {
    (share(), prop::bool::weighted(0.2), vec(sketch(), 0..4))
}

/// Some tenants with some lanes with some jobs, each with an id of its own.
pub(super) fn rows() -> impl Strategy<Value = Rows> {
    let tenant = (share(), prop::option::weighted(0.3, 0..4_usize), vec(lane(), 1..4));
    vec(tenant, 1..5).prop_map(|tenants| {
        let mut n = 0;
        let mut made = |(priority, since, memory_bytes, trust): Sketch| {
            n += 1;
            let priority = Priority::try_from(priority).unwrap();
            let place = Place::new(at(since), priority, HEAD_START, n);
            let id = JobId::from_bytes([u8::try_from(n).unwrap(); 16]);
            (place, Due { id, memory_bytes, since: at(since), trust })
        };
        let tenants = tenants.into_iter().map(|(share, limit, lanes)| {
            let lanes = lanes.into_iter().zip(["a", "b", "c"]);
            let lanes = lanes.map(|((share, is_held, jobs), queue)| LaneRow {
                share,
                is_held,
                ..LaneRow::new(queue, jobs.into_iter().map(&mut made).collect())
            });
            TenantRow { share, limit, lanes: lanes.collect() }
        });
        Rows::new(tenants.collect())
    })
}

pub(super) fn in_flight() -> impl Strategy<Value = InFlight> {
    use InFlight::*;
    prop::sample::select(vec![Trusted, Suspects, Watched, WatchedAlone])
}
