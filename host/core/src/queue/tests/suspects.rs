//! Suspects are tried one at a time, and alone before the next loss discards them.

use super::fixture::{Fixture, HOSTS, pause};

#[test]
fn suspects_are_tried_one_at_a_time_and_delay_no_other_job() {
    let mut fixture = Fixture::new();
    for n in 1..=4 {
        fixture.add(n, "a", 2, i64::from(n));
    }
    assert_eq!(fixture.claimed(3, 10), [1, 2, 3]);
    for n in 1..=3 {
        fixture.lose(n, 11);
    }
    assert_eq!(fixture.claimed(9, 12), [1, 4], "the first suspect, and the job that is no suspect");
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
fn while_one_job_runs_alone_the_next_one_that_must_delays_no_other() {
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

/// A job of which two attempts were lost, so that it must run alone.
fn lost_twice(fixture: &mut Fixture, n: u8) {
    fixture.add(n, "a", 2, 0);
    for now in [10, 11] {
        assert_eq!(fixture.claimed(1, now), [n]);
        fixture.lose(n, now);
    }
}

#[test]
fn a_job_that_runs_alone_on_its_host_keeps_no_other_host_from_claiming() {
    let [one, other] = HOSTS;
    let mut fixture = Fixture::new();
    lost_twice(&mut fixture, 1);
    assert_eq!(fixture.claimed_by(one, 9, 12), [1]);
    fixture.add(2, "a", 2, 0);
    assert_eq!(fixture.claimed_by(one, 9, 12), [] as [u8; 0]);
    assert_eq!(fixture.claimed_by(other, 9, 12), [2]);
}

#[test]
fn a_job_that_must_run_alone_begins_on_the_host_that_is_idle() {
    let [busy, idle] = HOSTS;
    let mut fixture = Fixture::new();
    lost_twice(&mut fixture, 1);
    fixture.add(2, "a", 1, 0);
    assert_eq!(fixture.claimed_by(busy, 1, 12), [2]);
    assert_eq!(fixture.claimed_by(busy, 9, 12), [] as [u8; 0]);
    assert_eq!(fixture.claimed_by(idle, 9, 12), [1]);
}

#[test]
fn each_host_tries_a_suspect_of_its_own() {
    let [one, other] = HOSTS;
    let mut fixture = Fixture::new();
    for n in 1..=3 {
        fixture.add(n, "a", 2, i64::from(n));
    }
    assert_eq!(fixture.claimed(3, 10), [1, 2, 3]);
    (1..=3).for_each(|n| fixture.lose(n, 11));
    assert_eq!(fixture.claimed_by(one, 9, 12), [1]);
    assert_eq!(fixture.claimed_by(other, 9, 12), [2]);
    assert_eq!(fixture.claimed_by(one, 9, 13), [] as [u8; 0]);
    assert_eq!(fixture.claimed_by(other, 9, 13), [] as [u8; 0]);
}
