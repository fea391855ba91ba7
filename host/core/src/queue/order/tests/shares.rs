//! What many picks in sequence amount to.

use proptest::prelude::*;

use super::rows::*;
use crate::queue::order::*;

/// Tenants with so many lanes each, all of which always have a job that is due.
fn busy(lanes: &[usize], served: &[u64]) -> Rows {
    let (mut n, mut served) = (0, served.iter().cycle());
    let mut share = || Share { served: *served.next().unwrap(), ..Share::default() };
    let tenants = lanes.iter().map(|lanes| {
        let lanes = ["a", "b", "c", "d"].into_iter().take(*lanes).map(|queue| {
            n += 1;
            LaneRow { share: share(), ..LaneRow::new(queue, vec![job(n, NOW)]) }
        });
        TenantRow::new(lanes.collect())
    });
    Rows::new(tenants.collect())
}

fn begun(pick: Pick) -> Due {
    let Pick::Begin(due) = pick else { panic!("{pick:?}") };
    due
}

proptest! {
    #[test]
    fn no_lane_starves_however_few_attempts_run_at_a_time(
        lanes in prop::collection::vec(1..=4_usize, 1..6),
        served in prop::collection::vec((0..100_u64).prop_map(|n| 2 * n), 1..20),
    ) {
        let mut rows = busy(&lanes, &served);
        let mut left: Vec<_> =
            (1..=lanes.iter().sum::<usize>()).map(|n| job(u8::try_from(n).unwrap(), NOW).1.id).collect();
        for _ in 0..lanes.len() * lanes.iter().max().unwrap() {
            let due = begun(rows.pick(InFlight::Trusted, &room(ENOUGH)));
            rows.begin(&due, &room(ENOUGH));
            rows.end(&due);
            left.retain(|id| *id != due.id);
        }
        prop_assert!(left.is_empty(), "never served: {:?}", left);
    }

    #[test]
    fn tenants_and_the_lanes_of_each_get_equal_shares(
        lanes in prop::collection::vec(1..=4_usize, 1..6), attempts in 1..100_usize,
    ) {
        let mut rows = busy(&lanes, &[0]);
        for _ in 0..attempts {
            let due = begun(rows.pick(InFlight::Trusted, &room(ENOUGH)));
            rows.begin(&due, &room(ENOUGH));
        }
        let spread = |shares: &mut dyn Iterator<Item = &Share>| {
            let running: Vec<_> = shares.map(|share| share.running.attempts).collect();
            running.iter().max().unwrap() - running.iter().min().unwrap()
        };
        prop_assert!(spread(&mut rows.tenants.iter().map(|it| &it.share)) <= 1);
        for tenant in &rows.tenants {
            prop_assert!(spread(&mut tenant.lanes.iter().map(|it| &it.share)) <= 1);
        }
    }
}

/// A host of 64 slots, of which queues leave 8 free.
const HOST: Room = Room { attempts: 64, memory_bytes: 64_000 };

#[test]
fn a_lane_that_comes_is_served_before_the_latest_and_after_those_that_have_waited() {
    let mut rows = busy(&[2], &[0, 2]);
    let latest = begun(rows.pick(InFlight::Trusted, &room(ENOUGH)));
    rows.begin(&latest, &room(ENOUGH));
    rows.end(&latest);
    let mut new = LaneRow::new("new", vec![job(9, NOW)]);
    new.share = Share::arriving(rows.turns);
    rows.tenants[0].lanes.push(new);
    let order = [0; 3].map(|_| {
        let due = begun(rows.pick(InFlight::Trusted, &room(ENOUGH)));
        rows.begin(&due, &room(ENOUGH));
        rows.end(&due);
        due.id
    });
    assert_eq!(order, [job(2, NOW), job(9, NOW), job(1, NOW)].map(|(_, due)| due.id));
}

#[test]
fn a_large_share_leaves_the_reserve_to_other_tenants_until_its_time_has_come() {
    let mut rows = busy(&[1], &[0]);
    let large = Room { attempts: 56, memory_bytes: 560 };
    let share = Share { running: large, here: large, waiting: 100, ..Share::default() };
    rows.tenants[0].share = share;
    rows.tenants[0].lanes[0].share = share;
    let reserve = Reserve::new(HOST, 8);
    let free = Room { attempts: 8, memory_bytes: 60_000 };
    let want = Want { free, idle: false, reserve: &reserve };
    // The first that it takes of the reserve notes when that was.
    let due = begun(rows.pick(InFlight::Trusted, &want));
    rows.begin(&due, &want);
    assert_eq!(rows.tenants[0].lanes[0].share.drew_at, Some(at(NOW)));
    let want = Want { free: Room { attempts: 7, ..free }, ..want };
    assert_eq!(rows.pick(InFlight::Trusted, &want), Pick::Nothing);
    let lane = &mut rows.tenants[0].lanes[0];
    lane.share.drew_at = Some(at(NOW - 15));
    assert_eq!(rows.pick(InFlight::Trusted, &want), Pick::Begin(due), "after 120 s / 8");
    rows.tenants[0].lanes[0].share.drew_at = Some(at(NOW));
    let small = job(9, NOW);
    rows.tenants.push(TenantRow::new(vec![LaneRow::new("small", vec![small])]));
    assert_eq!(rows.pick(InFlight::Trusted, &want), Pick::Begin(small.1));
}
