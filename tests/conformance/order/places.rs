//! The order of the jobs of one queue.

use jobwright_core::job::Verdict;
use jobwright_core::store::Redriven;

use crate::conformance::drafts::{Draft as _, at, job, paused};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    jobs_of_a_queue_are_ordered_by_due_time_with_a_head_start_then_arrival,
    a_job_of_the_lowest_priority_is_overtaken_for_its_head_start_and_no_longer,
    a_paused_queue_is_skipped_and_resumes_in_order,
    a_reclaimed_job_keeps_its_place,
    a_job_that_was_due_keeps_its_place,
    a_redriven_job_goes_behind_those_that_are_due,
];

async fn jobs_of_a_queue_are_ordered_by_due_time_with_a_head_start_then_arrival(
    store: Fixture,
) -> anyhow::Result<()> {
    let drafts = [
        job().priority(4),
        job().priority(2).due(at(5)),
        job().priority(2).due(at(3)),
        job().priority(2).due(at(3)),
        job().priority(1).due(at(9)),
        job().priority(2).due(at(3)),
    ];
    let ids = drafts.each_ref().map(|draft| draft.id);
    store.enqueue(drafts.into(), at(0)).await?;
    let order = [4, 2, 3, 5, 1, 0].map(|place: usize| ids[place]);
    assert_eq!(store.claim_all(at(9)).await?, order);
    Ok(())
}

/// Otherwise it would never start while others keep coming.
async fn a_job_of_the_lowest_priority_is_overtaken_for_its_head_start_and_no_longer(
    store: Fixture,
) -> anyhow::Result<()> {
    let low = store.accept(job().priority(4), at(0)).await?;
    let overtaking = store.accept(job().priority(1).due(at(899)), at(0)).await?;
    let late = store.accept(job().priority(1).due(at(900)), at(0)).await?;
    assert_eq!(store.claim_all(at(900)).await?, [overtaking, low, late]);
    Ok(())
}

async fn a_paused_queue_is_skipped_and_resumes_in_order(store: Fixture) -> anyhow::Result<()> {
    let drafts =
        [job().queue("off").priority(1), job().queue("off"), job(), job().queue("off").due(at(2))];
    let ids = drafts.each_ref().map(|draft| draft.id);
    store.enqueue(drafts.into(), at(0)).await?;
    store.set_held(paused("off"), Some(Default::default())).await?;
    assert_eq!(store.claim_all(at(5)).await?, [ids[2]]);
    let late = store.accept(job().queue("off"), at(5)).await?;
    assert_eq!(store.claim_all(at(5)).await?, []);
    store.set_held(paused("off"), None).await?;
    assert_eq!(store.claim_all(at(5)).await?, [ids[0], ids[1], ids[3], late]);
    Ok(())
}

async fn a_reclaimed_job_keeps_its_place(store: Fixture) -> anyhow::Result<()> {
    let first = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    store.accept(job(), at(1)).await?;
    store.reclaim_expired(at(30), 9).await?;
    assert_eq!(store.claim_one(at(30)).await?.job.id, first);
    Ok(())
}

/// Retrying a waiting job must not make it wait longer.
async fn a_job_that_was_due_keeps_its_place(store: Fixture) -> anyhow::Result<()> {
    let first = store.accept(job(), at(0)).await?;
    let second = store.accept(job(), at(1)).await?;
    assert_eq!(store.redrive(first, at(5)).await?, Some(Redriven::Due));
    assert_eq!(store.claim_all(at(5)).await?, [first, second]);
    Ok(())
}

async fn a_redriven_job_goes_behind_those_that_are_due(store: Fixture) -> anyhow::Result<()> {
    let first = store.finished(Verdict::Discard, at(0)).await?;
    let second = store.accept(job(), at(5)).await?;
    store.redrive(first, at(5)).await?;
    assert_eq!(store.claim_all(at(5)).await?, [second, first]);
    Ok(())
}
