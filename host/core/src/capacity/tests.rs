use std::sync::Arc;

use super::*;
use crate::hold::JobLabels;
use crate::tenant::TenantLimits;

fn labels(tenant: &str, queue: &str) -> Arc<JobLabels> {
    Arc::new(JobLabels {
        tenant: tenant.parse().expect("a name"),
        queue: queue.parse().expect("a name"),
        plugin: "p".parse().expect("a name"),
        version: "1.0.0".parse().expect("a version"),
        digest: crate::plugin::Digest::of(b""),
    })
}

#[test]
fn a_dropped_permit_makes_room_and_each_bound_is_separate() {
    let limits = CapacityLimits { per_queue: 1, total: 2, payload_bytes: 10, ..Default::default() };
    let capacity = Capacity::new(limits);
    let [a, b, c] = ["a", "b", "c"].map(|queue| labels("default", queue));

    let first = capacity.reserve(&a, 4, Side::Due).expect("room");
    assert!(matches!(capacity.reserve(&a, 0, Side::Due), Err(QueueFull::Queue { depth: 1, .. })));
    assert!(matches!(
        capacity.reserve(&b, 7, Side::Due),
        Err(QueueFull::Bytes { depth_bytes: 4, .. })
    ));
    let second = capacity.reserve(&b, 6, Side::Due).expect("room");
    assert!(matches!(capacity.reserve(&c, 0, Side::Due), Err(QueueFull::Host { depth: 2, .. })));
    let third = capacity.readmit(&c, 100);
    drop((first, second, third));
    assert!(capacity.reserve(&a, 10, Side::Due).is_ok());
}

#[test]
fn a_tenant_that_takes_all_it_can_leaves_capacity_to_others() {
    for (each, by_bytes) in [(0, false), (10, true)] {
        let limits = CapacityLimits {
            per_queue: 1000,
            total: if by_bytes { 10_000 } else { 80 },
            payload_bytes: 800,
            ..Default::default()
        };
        let capacity = Capacity::new(limits);
        let mut held = vec![];
        let full = loop {
            match capacity.reserve(&labels("a", "q"), each, Side::Due) {
                Ok(permit) => held.push(permit),
                Err(full) => break full,
            }
        };
        assert!(!full.is_of_tenant() && held.len() == 70, "{full} {}", held.len());
        let tenant = labels("a", "q").tenant.clone();
        let share = match by_bytes {
            false => QueueFull::Share { tenant, depth: 70, capacity: 70 },
            true => QueueFull::ShareBytes { tenant, depth_bytes: 700, capacity_bytes: 700 },
        };
        assert_eq!(full, share);
        held.push(capacity.reserve(&labels("b", "q"), each, Side::Due).expect("some are left"));
    }
}

#[test]
fn a_tenants_own_limits_bound_no_other_tenant() {
    let capacity = Capacity::new(CapacityLimits { per_queue: 1, ..Default::default() });
    let limits = TenantLimits { jobs: Some(2), payload_bytes: Some(10), ..Default::default() };
    let [a, b, c] = ["a", "b", "c"].map(|queue| labels("acme", queue));
    capacity.bound(&a.tenant, limits);

    let first = capacity.reserve(&a, 4, Side::Due).expect("room");
    let full = capacity.reserve(&b, 7, Side::Due).expect_err("no room");
    assert!(full.is_of_tenant());
    assert!(matches!(full, QueueFull::TenantBytes { depth_bytes: 4, .. }));
    let _second = capacity.reserve(&b, 6, Side::Due).expect("room");
    assert!(matches!(capacity.reserve(&c, 0, Side::Due), Err(QueueFull::Tenant { depth: 2, .. })));
    assert!(capacity.reserve(&labels("other", "a"), 100, Side::Due).is_ok(), "a queue of its own");
    drop(first);
    assert!(capacity.reserve(&c, 4, Side::Due).is_ok());
}

#[test]
fn each_side_of_a_queue_has_its_bound_and_an_accepted_job_changes_sides() {
    let limits = CapacityLimits { per_queue: 1, parked_per_queue: 1, ..Default::default() };
    let (capacity, queue) = (Capacity::new(limits), labels("default", "a"));
    let reserve = |side| capacity.reserve(&queue, 0, side);

    let mut first = reserve(Side::Due).expect("room");
    assert!(matches!(reserve(Side::Due), Err(QueueFull::Queue { depth: 1, capacity: 1, .. })));
    let second = reserve(Side::Parked).expect("room on the other side");
    assert!(matches!(reserve(Side::Parked), Err(QueueFull::Parked { depth: 1, .. })));
    first.shift(Side::Parked);
    assert!(matches!(reserve(Side::Parked), Err(QueueFull::Parked { depth: 2, .. })));
    let third = reserve(Side::Due).expect("it made room");
    drop((first, second));
    assert!(reserve(Side::Parked).is_ok());
    drop(third);
    assert!(capacity.lock().by_queue.is_empty());
}
