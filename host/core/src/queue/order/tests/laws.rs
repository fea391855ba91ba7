//! What is true of every pick.

use std::cell::Cell;

use proptest::prelude::*;

use super::rows::*;
use crate::clock::{after, until};
use crate::job::Priority;
use crate::queue::order::suspects::PATIENCE;
use crate::queue::order::{self, *};

proptest! {
    #[test]
    fn a_paused_lane_and_a_tenant_at_its_limit_are_never_picked(
        rows in rows(), in_flight in in_flight(), memory in 0..30_u64, idle: bool,
    ) {
        let pick = rows.pick(in_flight, &Want { idle, ..room(memory) });
        if let Pick::Begin(due) | Pick::Await(due) = pick {
            let (tenant, lane) = rows.find(&due);
            prop_assert!(!lane.is_held);
            prop_assert!(tenant.limit.is_none_or(|limit| tenant.share.running.attempts < limit));
        }
    }

    #[test]
    fn the_tenant_and_the_lane_that_run_the_fewest_are_first_then_those_served_longest_ago(
        mut rows in rows(),
    ) {
        for tenant in &mut rows.tenants {
            for lane in &mut tenant.lanes {
                lane.jobs.retain(|(_, due)| due.trust == Trust::Trusted);
            }
        }
        let open = rows.tenants.iter().filter(|tenant| {
            tenant.limit.is_none_or(|limit| tenant.share.running.attempts < limit)
        });
        // The first job of each tenant.
        let firsts = open.filter_map(|tenant| {
            let lanes = tenant.lanes.iter().filter(|lane| !lane.is_held);
            let jobs = lanes.flat_map(|lane| {
                lane.jobs.iter().map(|(place, due)| (lane.share.turn(), *place, due.id))
            });
            jobs.min().map(|(.., job)| (tenant.share.turn(), job))
        });
        let firsts: Vec<_> = firsts.collect();
        let turn = firsts.iter().map(|(turn, _)| *turn).min();
        match rows.pick(InFlight::Trusted, &room(ENOUGH)) {
            // Tenants that came at the same time have the same turn.
            Pick::Begin(due) => {
                prop_assert!(firsts.contains(&(turn.expect("one has a job"), due.id)));
            }
            Pick::Await(_) | Pick::Nothing => prop_assert_eq!(turn, None),
        }
    }

    #[test]
    fn a_picked_job_fits_unless_the_host_is_idle(rows in rows(), memory in 0..30_u64, idle: bool) {
        if let Pick::Begin(due) = rows.pick(InFlight::Trusted, &Want { idle, ..room(memory) }) {
            prop_assert!(idle || due.memory_bytes <= memory);
        }
    }

    #[test]
    fn a_job_for_which_others_wait_has_waited_for_long(
        rows in rows(), in_flight in in_flight(), memory in 0..30_u64,
    ) {
        if let Pick::Await(due) = rows.pick(in_flight, &room(memory)) {
            let waited = until(due.since, at(NOW));
            match due.trust {
                Trust::Alone => prop_assert!(waited >= PATIENCE && in_flight == InFlight::Trusted),
                Trust::Trusted | Trust::Suspect => {
                    prop_assert!(waited >= MEMORY_PATIENCE && due.memory_bytes > memory);
                }
            }
        }
    }

    #[test]
    fn a_suspect_starts_only_while_no_other_is_watched(rows in rows(), in_flight in in_flight()) {
        let pick = rows.pick(in_flight, &room(ENOUGH));
        if let Pick::Begin(due) = pick {
            prop_assert!(due.trust == Trust::Trusted || in_flight <= InFlight::Suspects);
            prop_assert!(due.trust != Trust::Alone, "only on an idle host");
        }
        prop_assert!(in_flight != InFlight::WatchedAlone || pick == Pick::Nothing);
    }

    #[test]
    fn a_suspect_that_may_not_start_delays_no_other_job(
        rows in rows(), suspects in 0..=1_u8,
    ) {
        let in_flight = [InFlight::Suspects, InFlight::Watched][usize::from(suspects)];
        let may = |due: &Due| match due.trust {
            Trust::Trusted => true,
            Trust::Suspect => in_flight == InFlight::Suspects,
            Trust::Alone => false,
        };
        let mut without = rows.clone();
        let lanes = without.tenants.iter_mut().flat_map(|tenant| &mut tenant.lanes);
        lanes.for_each(|lane| lane.jobs.retain(|(_, due)| may(due)));
        let expected = without.pick(InFlight::Trusted, &room(15));
        prop_assert_eq!(rows.pick(in_flight, &room(15)), expected);
    }

    #[test]
    fn a_job_is_overtaken_for_the_head_start_of_higher_priorities_and_no_longer(
        high in 1..=4_u8, levels in 0..=3_u8, late_s in 0..=1_000_u32,
    ) {
        let low = (high + levels).min(4);
        let place = |priority: u8, arrival| {
            let due = if arrival == 1 { at(NOW) } else { at(NOW + i64::from(late_s)) };
            Place::new(due, Priority::try_from(priority).unwrap(), HEAD_START, arrival)
        };
        let head_start = HEAD_START * u32::from(low - high);
        let overtakes = at(NOW + i64::from(late_s)) < after(at(NOW), head_start);
        prop_assert_eq!(place(high, 2) < place(low, 1), overtakes);
    }
}

#[test]
fn a_job_that_does_not_fit_lets_other_lanes_pass_for_a_minute_and_its_own_not() {
    for (waited, begins) in [(59, true), (60, false)] {
        let (place, small) = job(1, NOW - waited);
        let large = Due { memory_bytes: 100, ..small };
        let lane = LaneRow::new("a", vec![(place, large), job(2, NOW - 50)]);
        let other = LaneRow::new("b", vec![job(3, NOW)]);
        let rows = Rows::new(vec![TenantRow::new(vec![lane, other])]);
        let expected = if begins { Pick::Begin(job(3, NOW).1) } else { Pick::Await(large) };
        assert_eq!(rows.pick(InFlight::Trusted, &room(10)), expected, "{waited} s");
    }
}

#[test]
fn a_suspect_that_does_not_fit_lets_other_lanes_pass_and_its_own_not() {
    let (place, small) = job(1, NOW - 5);
    let suspect = Due { memory_bytes: 100, trust: Trust::Suspect, ..small };
    let lane = LaneRow::new("a", vec![(place, suspect), job(2, NOW)]);
    let mut rows = Rows::new(vec![TenantRow::new(vec![lane])]);
    assert_eq!(rows.pick(InFlight::Trusted, &room(10)), Pick::Nothing);
    rows.tenants[0].lanes.push(LaneRow::new("b", vec![job(3, NOW)]));
    assert_eq!(rows.pick(InFlight::Trusted, &room(10)), Pick::Begin(job(3, NOW).1));
}

/// How many heads a pick examines of 1,000 lanes, half of each of two tenants, with so much memory free.
fn examined(memory_bytes: u64) -> (Pick, usize) {
    let lane = |n: usize| LaneRow::new(&format!("q{n}"), vec![job(1, NOW)]);
    let tenants = [0, 1].map(|_| TenantRow::new((0..500).map(lane).collect()));
    let count = Cell::new(0);
    let tenants = tenants.iter().map(|row| {
        let lanes = row.heads().into_iter().inspect(|_| count.set(count.get() + 1));
        Tenant { share: row.share, limit: None, lanes }
    });
    let view = View { in_flight: InFlight::Trusted, tenants };
    (order::pick(view, &room(memory_bytes), at(NOW)), count.get())
}

#[test]
fn a_pick_examines_one_lane_if_its_job_fits_and_few_if_none_does() {
    assert_eq!(examined(10), (Pick::Begin(job(1, NOW).1), 1));
    assert_eq!(examined(9), (Pick::Nothing, MOST_LANES));
}
