//! Jobs under holds are skipped.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Fixture, at, labels, pause, want};
use crate::capacity::{Capacity, CapacityLimits};
use crate::hold::{Hold, JobLabels};
use crate::job::{JobId, Lifecycle, Priority};
use crate::queue::{Entry, Queue};
use crate::tenant::TenantName;

#[test]
fn jobs_of_a_paused_queue_are_skipped_and_counted() {
    let mut fixture = Fixture::new();
    fixture.add(1, "a", 1, 0);
    fixture.add(2, "b", 2, 0);
    fixture.queue.set_held(pause("a"), true);
    fixture.add(3, "a", 1, 0);
    assert_eq!(fixture.claimed(9, 10), [2]);
    let counts = fixture.queue.counts(at(10), &CapacityLimits::default());
    assert_eq!((counts[0].depth, counts[0].paused, counts[0].oldest_age_ms), (2, true, 10_000));
    fixture.queue.set_held(pause("a"), false);
    assert_eq!(fixture.claimed(9, 10), [1, 3]);
}

#[test]
fn jobs_under_a_hold_of_any_kind_are_skipped() {
    for n in 0..5 {
        let mut fixture = Fixture::new();
        fixture.of("acme").add(1, "a", 1, 0);
        let hold = Hold::over(&labels("acme", "a"))[n].clone();
        fixture.queue.set_held(hold.clone(), true);
        fixture.of("acme").add(2, "a", 1, 0);
        assert_eq!(fixture.claimed(9, 10), [] as [u8; 0], "{hold:?}");
        assert_eq!(fixture.queue.holds(), std::slice::from_ref(&hold));
        assert_eq!(fixture.queue.covered(&hold, 9).len(), 2);
        fixture.queue.set_held(hold, false);
        assert_eq!(fixture.claimed(9, 10), [1, 2]);
    }
}

#[test]
fn a_job_under_two_holds_waits_for_both() {
    let mut fixture = Fixture::new();
    fixture.add(1, "a", 1, 0);
    let tenant = Hold::Tenant(TenantName::default());
    fixture.queue.set_held(pause("a"), true);
    fixture.queue.set_held(tenant.clone(), true);
    fixture.queue.set_held(pause("a"), false);
    assert_eq!(fixture.claimed(9, 10), [] as [u8; 0]);
    fixture.queue.set_held(tenant, false);
    assert_eq!(fixture.claimed(9, 10), [1]);
}

#[test]
fn a_hold_on_code_skips_its_jobs_at_once_and_moves_them_in_steps() {
    let mut queue = Queue::new(Duration::ZERO, at(0));
    let capacity = Capacity::new(CapacityLimits::default());
    let number = |n: u64| JobId::from_bytes(u128::from(n).to_be_bytes());
    let [held, other] = ["held", "other"].map(|plugin| {
        let labels = JobLabels::clone(&labels("default", "a"));
        Arc::new(JobLabels { plugin: plugin.parse().unwrap(), ..labels })
    });
    const COVERED: u64 = 2000;
    for n in 0..=COVERED {
        let permit = capacity.readmit(if n < COVERED { &held } else { &other }, 0);
        let (priority, lifecycle) = (Priority::default(), Lifecycle::new(at(0)));
        let (memory_bytes, payload_bytes, row) = (1, 0, n);
        let entry = Entry { priority, memory_bytes, payload_bytes, lifecycle, row, permit };
        queue.insert(number(n), entry, at(0));
    }
    let hold = Hold::Plugin { tenant: held.tenant.clone(), plugin: held.plugin.clone() };
    queue.set_held(hold.clone(), true);
    let mut claims = 0;
    let begun = loop {
        let leases = queue.claim(&want(1), at(1));
        claims += 1;
        if let [lease] = leases[..] {
            break lease.job;
        }
        assert_eq!(queue.next_due(), Some(at(1)), "there is more to be looked at");
    };
    assert_eq!((begun, claims), (number(COVERED), 4), "each claim looks at some");
    while queue.is_sweeping() {
        queue.sweep();
    }
    assert_eq!((queue.has_due(), queue.next_due()), (false, None));
    queue.set_held(hold, false);
    while queue.is_sweeping() {
        queue.sweep();
    }
    assert_eq!(queue.claim(&want(1), at(1)).len() as u64, COVERED);
}
