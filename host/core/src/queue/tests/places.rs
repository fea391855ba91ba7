//! The order of the jobs of one queue, and jobs that do not fit.

use super::fixture::{Fixture, at};

#[test]
fn claims_of_a_queue_go_by_due_time_with_a_head_start_then_arrival() {
    let mut fixture = Fixture::new();
    for (n, priority, due) in [(1, 2, 5), (2, 2, 4), (3, 1, 9), (4, 2, 4), (5, 1, 99)] {
        fixture.add(n, "a", priority, due);
    }
    assert_eq!(fixture.claimed(2, 10), [3, 2]);
    assert_eq!(fixture.claimed(9, 10), [4, 1]);
    assert_eq!(fixture.queue.next_due(), Some(at(99)));
    assert_eq!(fixture.claimed(9, 99), [5]);
}

#[test]
fn a_job_of_the_lowest_priority_is_overtaken_for_its_head_start_and_no_longer() {
    let head_start = i64::try_from(crate::capacity::HEAD_START.as_secs()).unwrap();
    for (late, first) in [(3 * head_start - 1, 2), (3 * head_start, 1)] {
        let mut fixture = Fixture::new();
        fixture.add(1, "a", 4, 0);
        fixture.add(2, "a", 1, late);
        assert_eq!(fixture.claimed(1, late), [first], "{late} s later");
    }
}

#[test]
fn a_job_that_does_not_fit_makes_those_behind_it_wait() {
    let mut fixture = Fixture::new();
    fixture.add(50, "a", 1, 0);
    fixture.add(60, "a", 2, 0);
    fixture.add(1, "a", 3, 0);
    assert_eq!(fixture.claim(9, 100, 0).len(), 1);
    assert_eq!(fixture.claim(9, 50, 0).len(), 0);
    assert_eq!(fixture.claim(9, 61, 0).len(), 2);
}

#[test]
fn on_an_idle_host_every_job_fits() {
    let mut fixture = Fixture::new();
    fixture.add(50, "a", 1, 0);
    fixture.add(1, "a", 2, 0);
    assert_eq!(fixture.claim(9, 10, 0).len(), 1);
}
