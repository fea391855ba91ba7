//! Tenants: each has its queues, its limits and its share; and holds of one tenant and of all.

use std::sync::Arc;

use jobwright_core::capacity::{CapacityLimits, QueueFull};
use jobwright_core::hold::{Hold, JobLabels};
use jobwright_core::job::{CancelRequest, JobId, JobState, Verdict};
use jobwright_core::store::{Enqueued, JobFilter, Retention};
use jobwright_core::tenant::TenantLimits;

use crate::conformance::drafts::{Draft as _, at, named, of};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    a_queue_belongs_to_its_tenant,
    a_listing_shows_one_tenant,
    a_tenants_limits_apply_to_that_tenant_only,
    a_tenants_answers_to_keys_are_bounded_like_its_payloads,
    a_tenant_runs_no_more_attempts_than_its_limit,
    a_tenant_whose_limits_are_removed_is_not_stored,
    jobs_under_a_hold_are_skipped,
    covered_jobs_are_cancelled_in_steps,
];

async fn a_queue_belongs_to_its_tenant(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { per_queue: 1, ..Default::default() })?;
    store.accept(of("a"), at(0)).await?;
    store.accept(of("b"), at(0)).await?;
    assert!(matches!(store.offer(of("a"), at(0)).await?, Enqueued::QueueFull(_)));
    let counts = store.counts(at(1)).await?;
    let counted: Vec<_> = counts.iter().map(|c| (c.tenant.as_str(), c.depth, c.paused)).collect();
    assert_eq!(counted, [("a", 1, false), ("b", 1, false)]);
    let pause = Hold::Queue { tenant: named("a"), queue: named("default") };
    store.set_held(pause, Some(Default::default())).await?;
    let paused: Vec<_> = store.counts(at(1)).await?.iter().map(|c| c.paused).collect();
    assert_eq!(paused, [true, false]);
    assert_eq!(store.claim_one(at(1)).await?.job.spec.tenant, named("b"));
    Ok(())
}

async fn a_listing_shows_one_tenant(store: Fixture) -> anyhow::Result<()> {
    let [a, b] = [store.accept(of("a"), at(0)).await?, store.accept(of("b"), at(0)).await?];
    store.request_cancel(a, at(1)).await?;
    for (tenant, id) in [("a", Some(a)), ("b", Some(b)), ("c", None)] {
        let filter = JobFilter { tenant: Some(named(tenant)), ..JobFilter::default() };
        let listed: Vec<JobId> = store.walk(filter, 1, at(2)).await?.iter().map(|j| j.id).collect();
        assert_eq!(listed, Vec::from_iter(id), "{tenant}");
    }
    Ok(())
}

async fn a_tenants_limits_apply_to_that_tenant_only(store: Fixture) -> anyhow::Result<()> {
    let limits = TenantLimits { jobs: Some(1), payload_bytes: Some(10), ..Default::default() };
    store.set_tenant(named("a"), limits).await?;
    let long = "12345678901";
    let full = QueueFull::TenantBytes { tenant: named("a"), depth_bytes: 0, capacity_bytes: 10 };
    assert_eq!(store.offer(of("a").payload(long), at(0)).await?, Enqueued::QueueFull(full));
    let id = store.accept(of("a"), at(0)).await?;
    let full = QueueFull::Tenant { tenant: named("a"), depth: 1, capacity: 1 };
    assert_eq!(store.offer(of("a"), at(0)).await?, Enqueued::QueueFull(full));
    store.accept(of("b").payload(long), at(0)).await?;
    store.request_cancel(id, at(1)).await?;
    store.accept(of("a"), at(1)).await?;
    Ok(())
}

async fn a_tenants_answers_to_keys_are_bounded_like_its_payloads(
    store: Fixture,
) -> anyhow::Result<()> {
    let keyed = |tenant: &str, key: &str| of(tenant).key(key, "request");
    let job = keyed("a", "1");
    let length = job.dedup.as_ref().map_or(0, |key| key.bytes(&job.spec));
    let limits = TenantLimits { payload_bytes: Some(2 * length), ..Default::default() };
    store.set_tenant(named("a"), limits).await?;
    for key in ["1", "2"] {
        store.accept(keyed("a", key), at(0)).await?;
    }
    let (depth_bytes, capacity_bytes) = (2 * length, 2 * length);
    let full = QueueFull::TenantKeys { tenant: named("a"), depth_bytes, capacity_bytes };
    assert_eq!(store.offer(keyed("a", "3"), at(0)).await?, Enqueued::QueueFull(full.clone()));
    store.accept(keyed("b", "3"), at(0)).await?;
    // Also when the counts are rebuilt.
    let retention = Retention { completed_before: at(0), discarded_before: at(0), now: at(1) };
    store.prune(retention, 10).await?;
    assert_eq!(store.offer(keyed("a", "3"), at(1)).await?, Enqueued::QueueFull(full));
    Ok(())
}

async fn a_tenant_runs_no_more_attempts_than_its_limit(store: Fixture) -> anyhow::Result<()> {
    store.set_tenant(named("a"), TenantLimits { running: Some(1), ..Default::default() }).await?;
    for tenant in ["a", "a", "b"] {
        store.accept(of(tenant), at(0)).await?;
    }
    let first = store.claim_one(at(1)).await?;
    assert_eq!(first.job.spec.tenant, named("a"));
    assert_eq!(store.claim_one(at(1)).await?.job.spec.tenant, named("b"));
    assert_eq!(store.claim_up_to(9, at(1)).await?.len(), 0);
    store.set_tenant(named("a"), TenantLimits::default()).await?;
    assert_eq!(store.claim_up_to(9, at(2)).await?.len(), 1);
    Ok(())
}

async fn a_tenant_whose_limits_are_removed_is_not_stored(store: Fixture) -> anyhow::Result<()> {
    let limits = TenantLimits { jobs: Some(1), running: Some(0), ..Default::default() };
    for name in ["a", "b"] {
        store.set_tenant(named(name), limits).await?;
    }
    store.set_tenant(named("a"), TenantLimits::default()).await?;
    store.set_tenant(named("c"), TenantLimits::default()).await?;
    assert_eq!(store.tenants().await?, [(named("b"), limits)]);
    assert_eq!(store.tenant(&named("a")).await?, TenantLimits::default());
    store.accept(of("a"), at(0)).await?;
    store.accept(of("a"), at(0)).await?;
    assert_eq!(store.claim_up_to(9, at(1)).await?.len(), 2);
    Ok(())
}

async fn jobs_under_a_hold_are_skipped(store: Fixture) -> anyhow::Result<()> {
    let held = store.accept(of("a"), at(0)).await?;
    let mut other = of("b").queue("other");
    let spec = Arc::make_mut(&mut other.spec);
    (spec.plugin, spec.digest) = (named("q"), named(&format!("sha256:{}", "7".repeat(64))));
    let other = store.accept(other, at(0)).await?;
    for hold in Hold::over(&JobLabels::from(&*of("a").spec)) {
        store.set_held(hold.clone(), Some(Default::default())).await?;
        assert_eq!(
            store.holds().await?.into_keys().collect::<Vec<_>>(),
            std::slice::from_ref(&hold)
        );
        let leased = store.claim_one(at(1)).await?;
        assert_eq!(leased.job.id, other, "{hold:?}");
        store.finish_with(&leased, Verdict::Release { at: at(1), refused: false }, at(1)).await?;
        store.set_held(hold, None).await?;
    }
    assert_eq!(store.claim_up_to(9, at(2)).await?.len(), 2);
    assert_eq!(store.job(held).await?.lifecycle.state, JobState::Running);
    Ok(())
}

async fn covered_jobs_are_cancelled_in_steps(store: Fixture) -> anyhow::Result<()> {
    for tenant in ["a", "a", "a", "b"] {
        store.accept(of(tenant), at(0)).await?;
    }
    let running = store.claim_one(at(1)).await?.job.id;
    let hold = Hold::Tenant(named("a"));
    let mut answers = vec![];
    loop {
        let some = store.cancel_covered(hold.clone(), at(2), 2).await?;
        assert!(some.len() <= 2);
        if some.is_empty() {
            break;
        }
        answers.extend(some);
    }
    assert_eq!(answers.len(), 3);
    for (id, answer) in answers {
        let expected = match id == running {
            true => CancelRequest::Stopping { attempt: 1 },
            false => CancelRequest::Cancelled,
        };
        assert_eq!(answer, expected);
    }
    let counts = store.counts(at(3)).await?;
    let left: Vec<_> = counts.iter().map(|c| (c.tenant.as_str(), c.depth, c.running)).collect();
    assert_eq!(left, [("a", 0, 1), ("b", 1, 0)]);
    Ok(())
}
