//! Capacity: a full queue refuses jobs at once and reports its depth; a place is free again when a job is
//! finalized, and not before.

use std::sync::Arc;

use jobwright_core::capacity::{CapacityLimits, QueueFull};
use jobwright_core::job::Verdict;
use jobwright_core::store::{Enqueued, Redriven};
use jobwright_core::tenant::TenantLimits;

use crate::conformance::drafts::{Draft as _, at, job, jobs, named, of};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    a_full_queue_reports_its_depth_and_capacity,
    a_full_host_reports_its_depth_and_capacity,
    full_payload_bytes_report_their_use_and_bound,
    arguments_variables_and_tags_count_with_the_payload,
    a_full_queue_leaves_room_in_others,
    a_full_queue_refuses_the_rest_of_a_batch_in_order,
    a_refused_job_leaves_no_trace,
    due_and_running_jobs_take_room,
    scheduled_jobs_and_retries_have_a_bound_of_their_own,
    an_accepted_job_moves_between_due_and_parked_without_refusal,
    host_and_tenant_bounds_count_both_sides,
    room_returns_at_finalization,
    room_does_not_return_at_a_retry_that_is_due,
    room_returns_when_a_waiting_job_is_cancelled,
    room_returns_when_the_last_loss_discards,
    concurrent_enqueues_never_exceed_the_bound,
];

fn at_most(jobs: usize) -> CapacityLimits {
    CapacityLimits { per_queue: jobs, parked_per_queue: jobs, ..Default::default() }
}

/// As [`full`], for the bound of jobs that are neither due nor running.
fn parked_full(jobs: usize, capacity: usize) -> Enqueued {
    let queue = named("default");
    Enqueued::QueueFull(QueueFull::Parked { queue, depth: jobs, capacity })
}

/// The answer of a full default queue.
fn full(jobs: usize) -> Enqueued {
    let queue = named("default");
    Enqueued::QueueFull(QueueFull::Queue { queue, depth: jobs, capacity: jobs })
}

async fn a_full_queue_reports_its_depth_and_capacity(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(at_most(2))?;
    store.enqueue(jobs(2), at(0)).await?;
    assert_eq!(store.offer(job(), at(0)).await?, full(2));
    Ok(())
}

async fn a_full_host_reports_its_depth_and_capacity(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { total: 2, ..Default::default() })?;
    store.enqueue(vec![job().queue("a"), job().queue("b")], at(0)).await?;
    let full = Enqueued::QueueFull(QueueFull::Host { depth: 2, capacity: 2 });
    assert_eq!(store.offer(job().queue("c"), at(0)).await?, full);
    Ok(())
}

async fn full_payload_bytes_report_their_use_and_bound(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { payload_bytes: 10, ..Default::default() })?;
    store.accept(job().payload("1234567"), at(0)).await?;
    let full = Enqueued::QueueFull(QueueFull::Bytes { depth_bytes: 7, capacity_bytes: 10 });
    assert_eq!(store.offer(job().payload("1234"), at(0)).await?, full);
    store.accept(job().payload("123"), at(0)).await?;
    store.accept(job().payload(""), at(0)).await?;
    Ok(())
}

async fn arguments_variables_and_tags_count_with_the_payload(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { payload_bytes: 10, ..Default::default() })?;
    let mut wordy = job().payload("1");
    Arc::make_mut(&mut wordy.spec).args = vec!["23".to_owned()];
    Arc::make_mut(&mut wordy.spec).env = [("4".to_owned(), "56".to_owned())].into();
    Arc::make_mut(&mut wordy.spec).tags = vec!["7".to_owned()];
    let id = store.accept(wordy, at(0)).await?;
    let full = Enqueued::QueueFull(QueueFull::Bytes { depth_bytes: 7, capacity_bytes: 10 });
    assert_eq!(store.offer(job().payload("1234"), at(0)).await?, full);
    store.request_cancel(id, at(1)).await?;
    store.accept(job().payload("1234567890"), at(1)).await?;
    Ok(())
}

async fn a_full_queue_leaves_room_in_others(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(at_most(1))?;
    store.accept(job(), at(0)).await?;
    store.accept(job().queue("other"), at(0)).await?;
    Ok(())
}

async fn a_full_queue_refuses_the_rest_of_a_batch_in_order(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(at_most(2))?;
    let answers = store.enqueue(jobs(4), at(0)).await?;
    assert_eq!(answers, [Enqueued::Inserted, Enqueued::Inserted, full(2), full(2)]);
    Ok(())
}

async fn a_refused_job_leaves_no_trace(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(at_most(1))?;
    let batch = jobs(2);
    let ids = [batch[0].id, batch[1].id];
    store.enqueue(batch, at(0)).await?;
    assert_eq!(store.get(ids[1]).await?, None);
    assert_eq!(store.queue("default", at(0)).await?.depth, 1);
    assert_eq!(store.claim_all(at(0)).await?, [ids[0]]);
    Ok(())
}

async fn due_and_running_jobs_take_room(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(at_most(2))?;
    store.enqueue(jobs(2), at(0)).await?;
    store.claim_one(at(0)).await?;
    assert_eq!(store.offer(job(), at(0)).await?, full(2));
    Ok(())
}

/// Otherwise the retries of an outage elsewhere would fill the queue.
async fn scheduled_jobs_and_retries_have_a_bound_of_their_own(
    store: Fixture,
) -> anyhow::Result<()> {
    let store = store.bounded(at_most(2))?;
    store.accept(job().due(at(100)), at(0)).await?;
    store.finished(Verdict::Retry { at: at(100) }, at(0)).await?;
    assert_eq!(store.offer(job().due(at(100)), at(0)).await?, parked_full(2, 2));
    store.enqueue(jobs(2), at(0)).await?;
    assert_eq!(store.offer(job(), at(0)).await?, full(2));
    Ok(())
}

async fn an_accepted_job_moves_between_due_and_parked_without_refusal(
    store: Fixture,
) -> anyhow::Result<()> {
    let store = store.bounded(at_most(1))?;
    let scheduled = store.accept(job().due(at(100)), at(0)).await?;
    store.finished(Verdict::Retry { at: at(50) }, at(0)).await?;
    assert_eq!(store.offer(job().due(at(100)), at(0)).await?, parked_full(2, 1));
    // Both become due, and count towards that bound: new jobs are refused until the depth is below it.
    let retried = store.claim_one(at(50)).await?;
    assert_eq!(store.redrive(scheduled, at(50)).await?, Some(Redriven::Due));
    let over =
        Enqueued::QueueFull(QueueFull::Queue { queue: named("default"), depth: 2, capacity: 1 });
    assert_eq!(store.offer(job(), at(50)).await?, over);
    store.finish_with(&retried, Verdict::Complete, at(50)).await?;
    assert_eq!(store.offer(job(), at(50)).await?, full(1));
    store.accept(job().due(at(100)), at(50)).await?;
    Ok(())
}

async fn host_and_tenant_bounds_count_both_sides(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { total: 3, ..Default::default() })?;
    let limits = TenantLimits { jobs: Some(2), ..Default::default() };
    store.set_tenant(named("a"), limits).await?;
    store.enqueue(vec![of("a"), of("a").due(at(9))], at(0)).await?;
    let of_tenant = QueueFull::Tenant { tenant: named("a"), depth: 2, capacity: 2 };
    assert_eq!(store.offer(of("a"), at(0)).await?, Enqueued::QueueFull(of_tenant));
    store.accept(job().due(at(9)), at(0)).await?;
    let host = Enqueued::QueueFull(QueueFull::Host { depth: 3, capacity: 3 });
    assert_eq!(store.offer(job(), at(0)).await?, host);
    Ok(())
}

async fn room_returns_at_finalization(store: Fixture) -> anyhow::Result<()> {
    let limits = CapacityLimits { total: 1, payload_bytes: 5, ..at_most(1) };
    let store = store.bounded(limits)?;
    for verdict in [Verdict::Complete, Verdict::Discard, Verdict::Cancel, Verdict::Complete] {
        store.finished(verdict, at(0)).await?;
    }
    Ok(())
}

async fn room_does_not_return_at_a_retry_that_is_due(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(at_most(1))?;
    store.accept(job(), at(0)).await?;
    let release = Verdict::Release { at: at(0), refused: true };
    for verdict in [Verdict::Retry { at: at(0) }, release] {
        let leased = store.claim_one(at(0)).await?;
        store.finish_with(&leased, verdict, at(0)).await?;
        assert_eq!(store.offer(job(), at(0)).await?, full(1), "{verdict:?}");
    }
    Ok(())
}

async fn room_returns_when_a_waiting_job_is_cancelled(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(at_most(1))?;
    for due in [0, 9] {
        let id = store.accept(job().due(at(due)), at(0)).await?;
        store.request_cancel(id, at(0)).await?;
        let id = store.accept(job().due(at(due)), at(0)).await?;
        store.request_cancel(id, at(0)).await?;
    }
    Ok(())
}

async fn room_returns_when_the_last_loss_discards(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(at_most(1))?;
    store.accept(job(), at(0)).await?;
    for _ in 0..3 {
        assert_eq!(store.offer(job(), at(0)).await?, full(1));
        store.claim_one(at(0)).await?;
        store.reclaim_expired(at(30), 9).await?;
    }
    store.accept(job(), at(30)).await?;
    Ok(())
}

async fn concurrent_enqueues_never_exceed_the_bound(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(at_most(50))?;
    let requests = (0..100).map(|_| {
        let store = store.handle();
        tokio::spawn(async move { store.enqueue(jobs(1), at(0)).await })
    });
    let mut inserted = 0;
    for request in requests.collect::<Vec<_>>() {
        inserted += usize::from(request.await?? == [Enqueued::Inserted]);
    }
    assert_eq!(inserted, 50);
    assert_eq!(store.claim_all(at(0)).await?.len(), 50);
    Ok(())
}
