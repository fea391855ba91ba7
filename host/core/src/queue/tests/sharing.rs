//! How tenants and queues share the workers.

use super::fixture::{Fixture, HOSTS, at, id, want};
use crate::host::HostId;
use crate::queue::{Claim, Reserve, Room};

impl Fixture {
    /// What a host of 8 slots and 800 bytes of memory claims, of which a queue leaves 2 slots free.
    fn claim_beside(&mut self, free: usize, memory_bytes: u64, now: i64) -> Vec<u8> {
        let host = Room { attempts: 8, memory_bytes: 800 };
        let reserve = Reserve::new(host, 2);
        let want = Claim { max: free, memory_bytes, idle: false, reserve, ..want(now) };
        let leases = self.queue.claim(&want, at(now));
        leases.iter().map(|lease| lease.job.as_bytes()[0]).collect()
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
fn a_queue_with_a_large_share_takes_the_last_slots_slowly_and_another_at_once() {
    let mut fixture = Fixture::new();
    for n in 1..=20 {
        fixture.add(n, "slow", 1, 0);
    }
    assert_eq!(fixture.claim_beside(8, 800, 0), [1, 2, 3, 4, 5, 6]);
    fixture.add(30, "fast", 4, 9);
    assert_eq!(fixture.claim_beside(2, 800, 9), [30]);
    fixture.complete(30, 1, 10);
    assert_eq!(fixture.claim_beside(2, 800, 59), [] as [u8; 0]);
    assert_eq!(fixture.claim_beside(2, 800, 60), [7], "a queue that is alone gets all, in time");
    // The last one is what its tenant leaves to others: it came to the edge of that at 9 s.
    assert_eq!(fixture.claim_beside(1, 800, 128), [] as [u8; 0]);
    assert_eq!(fixture.claim_beside(1, 800, 129), [8]);
}

#[test]
fn the_smaller_the_reserve_the_more_slowly_it_is_taken() {
    for (slots, least) in [(1, 120), (4, 30)] {
        let mut fixture = Fixture::new();
        for n in 1..=20 {
            fixture.add(n, "slow", 1, 0);
        }
        let host = Room { attempts: 8, memory_bytes: 800 };
        let mut claim = |free: usize, now: i64| {
            let reserve = Reserve::new(host, slots);
            let want = Claim { max: free, memory_bytes: 800, idle: false, reserve, ..want(now) };
            fixture.queue.claim(&want, at(now)).len()
        };
        assert_eq!(claim(8, 0), 8 - slots, "at once");
        assert_eq!(claim(slots, least - 1), 0, "{slots} slots");
        assert_eq!(claim(slots, least), 1, "{slots} slots");
    }
}

#[test]
fn a_queue_of_a_tenant_with_a_limit_leaves_a_part_of_that() {
    let (mut fixture, acme) = (Fixture::new(), "acme".parse().unwrap());
    fixture.queue.bound(&acme, Some(8));
    for n in 1..=20 {
        fixture.of("acme").add(n, "slow", 1, 0);
    }
    let host = Room { attempts: 64, memory_bytes: 6400 };
    let claim = |fixture: &mut Fixture, free: usize| {
        let reserve = Reserve::new(host, 8);
        let want = Claim { max: free, memory_bytes: 6400, idle: false, reserve, ..want(0) };
        let leases = fixture.queue.claim(&want, at(0));
        leases.iter().map(|lease| lease.job.as_bytes()[0]).collect::<Vec<_>>()
    };
    assert_eq!(claim(&mut fixture, 64), [1, 2, 3, 4, 5, 6, 7]);
    fixture.of("acme").add(30, "fast", 4, 0);
    assert_eq!(claim(&mut fixture, 57), [30]);
}

#[test]
fn the_reserve_has_memory_for_a_job_however_small_the_host() {
    let mut fixture = Fixture::new();
    // Eight slots and memory for ten jobs of 100, of which an eighth would be less than one.
    let host = Room { attempts: 8, memory_bytes: 1000 };
    let claim = |fixture: &mut Fixture, free: usize, memory_bytes: u64| {
        let reserve = Reserve::new(host, 1).fitting(130);
        let want = Claim { max: free, memory_bytes, idle: false, reserve, ..want(0) };
        fixture.queue.claim(&want, at(0)).iter().map(|it| it.job.as_bytes()[0]).collect::<Vec<_>>()
    };
    for n in 150..=159 {
        fixture.add(n, "slow", 1, 0);
    }
    let begun = claim(&mut fixture, 8, 1000);
    assert_eq!(begun, [150, 151, 152, 153]);
    fixture.add(130, "fast", 4, 0);
    assert_eq!(claim(&mut fixture, 4, 1000 - 606), [130]);
}

#[test]
fn queues_take_turns_where_one_attempt_runs_at_a_time() {
    let mut fixture = Fixture::new();
    for n in 1..=9 {
        fixture.add(n, "slow", 1, 0);
    }
    let mut turns = vec![];
    for now in 10..18 {
        let n = fixture.claimed(1, now)[0];
        turns.push(n);
        if now == 12 {
            fixture.add(20, "late", 4, 12);
            fixture.add(21, "late", 4, 12);
        }
        fixture.complete(n, 1, now);
    }
    assert_eq!(turns, [1, 2, 3, 20, 4, 21, 5, 6]);
}

#[test]
fn a_queue_that_is_new_with_each_job_starves_no_other() {
    let mut fixture = Fixture::new();
    for n in 1..=4 {
        fixture.add(n, "a", 1, 0);
        fixture.add(n + 10, "b", 1, 0);
    }
    let (mut turns, mut new) = (vec![], [100, 150]);
    for now in 10..22 {
        for (n, lane) in new.iter().zip(["c", "d"]) {
            if fixture.queue.lifecycle(id(*n)).is_none() {
                fixture.add(*n, lane, 1, now);
            }
        }
        let n = fixture.claimed(1, now)[0];
        fixture.complete(n, 1, now);
        new = new.map(|next| if next == n { next + 1 } else { next });
        turns.push(n);
    }
    let of = |lane: std::ops::Range<u8>| turns.iter().filter(|n| lane.contains(n)).count();
    assert_eq!([of(0..10), of(10..20), of(100..150), of(150..200)], [3; 4], "{turns:?}");
}

#[test]
fn a_tenant_with_a_large_share_leaves_half_of_the_reserve_whatever_its_queues() {
    let mut fixture = Fixture::new();
    for n in 1..=20 {
        fixture.add(n, ["a", "b", "c", "d"][usize::from(n % 4)], 1, 0);
    }
    assert_eq!(fixture.claim_beside(8, 800, 0).len(), 7);
    assert_eq!(fixture.claim_beside(1, 800, 1), [] as [u8; 0]);
    fixture.of("other").add(30, "a", 4, 1);
    assert_eq!(fixture.claim_beside(1, 800, 1), [30]);
}

#[test]
fn a_queue_whose_jobs_all_fit_leaves_nothing_free() {
    let mut fixture = Fixture::new();
    for n in 1..=8 {
        fixture.add(n, "a", 1, 0);
    }
    assert_eq!(fixture.claim_beside(8, 800, 0).len(), 8);
    fixture.complete(1, 1, 1);
    fixture.add(9, "a", 1, 1);
    assert_eq!(fixture.claim_beside(1, 800, 1), [9]);
}

#[test]
fn the_reserve_holds_for_memory_too() {
    let mut fixture = Fixture::new();
    for n in 101..=110 {
        fixture.add(n, "slow", 1, 0);
    }
    assert_eq!(fixture.claim_beside(8, 800, 0), [101, 102, 103, 104, 105], "none beyond 600");
    fixture.add(100, "fast", 4, 0);
    assert_eq!(fixture.claim_beside(3, 800 - 515, 1), [100]);
}

#[test]
fn tenants_share_the_workers_however_much_each_has_waiting() {
    let mut fixture = Fixture::new();
    for n in 1..=6 {
        fixture.of("flood").add(n, "a", 1, 0);
    }
    assert_eq!(fixture.claimed(3, 10), [1, 2, 3], "no other tenant has jobs");
    fixture.of("b").add(11, "a", 4, 9);
    fixture.of("c").add(21, "a", 4, 9);
    fixture.of("c").add(22, "a", 1, 9);
    assert_eq!(fixture.claimed(4, 10), [11, 22, 21, 4], "first those who run the fewest");
    fixture.complete(1, 1, 11);
    fixture.complete(11, 1, 11);
    fixture.of("b").add(12, "a", 4, 9);
    assert_eq!(fixture.claimed(9, 11), [12, 5, 6]);
}

#[test]
fn among_tenants_with_equal_attempts_the_least_recently_served_is_next() {
    let mut fixture = Fixture::new();
    for n in 1..=3 {
        fixture.of("a").add(n, "a", 1, 0);
        fixture.of("b").add(n + 10, "a", 1, 0);
    }
    let mut turns = vec![];
    for now in 10..16 {
        let n = fixture.claimed(1, now)[0];
        fixture.complete(n, 1, now);
        turns.push(n);
    }
    assert_eq!(turns, [1, 11, 2, 12, 3, 13]);
}

#[test]
fn a_tenant_runs_no_more_than_its_own_limit() {
    let mut fixture = Fixture::new();
    let tenant = "acme".parse().unwrap();
    fixture.queue.bound(&tenant, Some(2));
    for n in 1..=3 {
        fixture.of("acme").add(n, "a", 1, 0);
    }
    fixture.add(9, "a", 4, 0);
    assert_eq!(fixture.claimed(9, 10), [1, 9, 2]);
    fixture.complete(1, 1, 11);
    assert_eq!(fixture.claimed(9, 11), [3]);
    fixture.of("acme").add(4, "a", 1, 0);
    fixture.queue.bound(&tenant, None);
    assert_eq!(fixture.claimed(9, 12), [4]);
}

#[test]
fn a_share_is_large_by_what_it_has_on_the_host_that_claims() {
    let [one, other] = HOSTS;
    let mut fixture = Fixture::new();
    for n in 1..=30 {
        fixture.add(n, "slow", 1, 0);
    }
    // Eight slots, of which a queue that has four of them leaves two free.
    let claimed = |fixture: &mut Fixture, host: HostId, free: usize| {
        let reserve = Reserve::new(Room { attempts: 8, memory_bytes: 8000 }, 2);
        let want = Claim { host, max: free, memory_bytes: 8000, idle: false, reserve, ..want(0) };
        fixture.queue.claim(&want, at(0)).len()
    };
    assert_eq!(claimed(&mut fixture, one, 8), 6);
    assert_eq!(claimed(&mut fixture, other, 2), 2, "it has nothing else there");
    assert_eq!(claimed(&mut fixture, one, 2), 0);
}

#[test]
fn a_lane_whose_first_jobs_expire_keeps_its_turn() {
    let mut fixture = Fixture::new();
    for (n, lane) in [(1, "b"), (2, "a"), (3, "a")] {
        fixture.add(n, lane, 1, 0);
    }
    for n in [2, 3] {
        fixture.queue.change(id(n), |slot| slot.entry.lifecycle.end_by = Some(at(5)));
    }
    assert_eq!(fixture.claim_beside(1, 5, 0), [1]);
    for (n, lane, priority) in [(6, "a", 4), (4, "c", 1), (5, "a", 1)] {
        fixture.add(n, lane, priority, 5);
    }
    fixture.queue.read_clocks(at(5), at(5));
    assert_eq!(fixture.queue.over(9), [id(2), id(3)]);
    for n in [2, 3] {
        fixture.queue.expire(id(n), at(5));
    }
    assert_eq!(fixture.claim_beside(1, 500, 5), [5]);
}
