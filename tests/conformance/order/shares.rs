//! How tenants and queues share the workers.

use std::sync::Arc;

use jobwright_core::queue::{Reserve, Room};
use jobwright_core::store::Claim;

use crate::conformance::drafts::{Draft as _, at, job, jobs, named, of};
use crate::conformance::fixture::{Fixture, HOSTS, want};
use crate::conformance::laws;

laws![
    a_flood_of_one_queue_does_not_hold_up_another,
    a_queue_that_has_filled_the_host_leaves_room_for_another,
    a_queue_that_is_alone_may_fill_the_host,
    a_queue_that_has_filled_one_host_leaves_no_room_on_another,
    a_flood_of_one_tenant_does_not_hold_up_another,
];

async fn a_flood_of_one_queue_does_not_hold_up_another(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(20), at(0)).await?;
    store.claim_up_to(2, at(1)).await?;
    let other = store.accept(job().queue("other").priority(4), at(1)).await?;
    assert_eq!(store.claim_one(at(2)).await?.job.id, other);
    assert_eq!(store.claim_one(at(2)).await?.job.spec.queue, named("default"));
    Ok(())
}

/// A claim on a host of 64 slots, of which `free` are free.
fn on_host(free: usize, now: i64) -> Claim {
    let host = Room { attempts: 64, memory_bytes: u64::MAX };
    Claim { idle: false, reserve: Reserve::new(host, 8), ..want(free, at(now)) }
}

async fn a_queue_that_has_filled_the_host_leaves_room_for_another(
    store: Fixture,
) -> anyhow::Result<()> {
    store.enqueue(jobs(200), at(0)).await?;
    let running = store.claim(on_host(64, 0), at(0)).await?;
    assert_eq!((running.leased.len(), running.more), (56, true));
    for tenant in ["default", "other"] {
        let mut other = of(tenant).queue("other");
        Arc::make_mut(&mut other.spec).priority = 4.try_into()?;
        let id = store.accept(other, at(1)).await?;
        let leased = store.claim(on_host(8, 1), at(1)).await?.leased;
        assert_eq!(leased.iter().map(|leased| leased.job.id).collect::<Vec<_>>(), [id]);
    }
    Ok(())
}

async fn a_queue_that_is_alone_may_fill_the_host(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(200), at(0)).await?;
    let mut running = store.claim(on_host(64, 0), at(0)).await?.leased.len();
    for now in (15..=240).step_by(15) {
        running += store.claim(on_host(64 - running, now), at(now)).await?.leased.len();
    }
    assert_eq!(running, 64);
    Ok(())
}

/// Slots are counted for each host: on the second one the queue has no attempt in flight.
async fn a_queue_that_has_filled_one_host_leaves_no_room_on_another(
    store: Fixture,
) -> anyhow::Result<()> {
    store.enqueue(jobs(200), at(0)).await?;
    let filled = store.claim(on_host(64, 0), at(0)).await?;
    assert_eq!(filled.leased.len(), 56);
    assert_eq!(store.claim(on_host(8, 0), at(0)).await?.leased, []);
    let other = Claim { host: HOSTS[1], ..on_host(8, 0) };
    assert_eq!(store.claim(other, at(0)).await?.leased.len(), 8);
    Ok(())
}

async fn a_flood_of_one_tenant_does_not_hold_up_another(store: Fixture) -> anyhow::Result<()> {
    for _ in 0..20 {
        store.accept(of("flood"), at(0)).await?;
    }
    for _ in 0..2 {
        store.claim_one(at(1)).await?;
    }
    let other = store.accept(of("b").priority(4), at(1)).await?;
    assert_eq!(store.claim_one(at(2)).await?.job.id, other);
    assert_eq!(store.claim_one(at(2)).await?.job.spec.tenant, named("flood"));
    Ok(())
}
