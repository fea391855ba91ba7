//! The order of suspects: jobs with a lost attempt that counts.

use jobwright_core::job::{JobId, Verdict};

use crate::conformance::drafts::{Draft as _, at, job};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    jobs_that_were_lost_are_tried_one_at_a_time,
    jobs_that_were_lost_do_not_delay_others,
    a_job_that_was_lost_twice_waits_until_nothing_else_runs,
    a_job_that_was_lost_twice_runs_alone,
    a_job_that_must_run_alone_lets_others_pass_for_ten_minutes,
];

async fn jobs_that_were_lost_are_tried_one_at_a_time(store: Fixture) -> anyhow::Result<()> {
    let ids = [store.accept(job(), at(0)).await?, store.accept(job(), at(0)).await?];
    store.claim_up_to(2, at(0)).await?;
    store.reclaim_expired(at(30), 9).await?;
    for id in ids {
        let tried = store.claim_up_to(9, at(30)).await?;
        assert_eq!(tried.iter().map(|leased| leased.job.id).collect::<Vec<_>>(), [id]);
        store.finish_with(&tried[0], Verdict::Complete, at(30)).await?;
    }
    Ok(())
}

/// Otherwise a host that was killed with many attempts in flight would run nothing else for a long time.
async fn jobs_that_were_lost_do_not_delay_others(store: Fixture) -> anyhow::Result<()> {
    let suspects = [store.accept(job(), at(0)).await?, store.accept(job(), at(0)).await?];
    store.claim_up_to(2, at(0)).await?;
    let other = store.accept(job(), at(1)).await?;
    store.reclaim_expired(at(30), 9).await?;
    assert_eq!(store.claim_all(at(30)).await?, [suspects[0], other]);
    assert_eq!(store.claim_all(at(39)).await?, []);
    assert_eq!(store.claim_all(at(40)).await?, [suspects[1]], "the first has run for long");
    Ok(())
}

/// Accepts a job and loses two attempts at it.
pub(super) async fn lost_twice(store: &Fixture) -> anyhow::Result<JobId> {
    let suspect = store.accept(job(), at(0)).await?;
    for _ in 0..2 {
        store.claim_one(at(0)).await?;
        assert_eq!(store.reclaim_expired(at(30), 9).await?, [suspect]);
    }
    Ok(suspect)
}

async fn a_job_that_was_lost_twice_waits_until_nothing_else_runs(
    store: Fixture,
) -> anyhow::Result<()> {
    let suspect = lost_twice(&store).await?;
    let other = store.accept(job().priority(1), at(0)).await?;
    assert_eq!(store.claim_up_to(1, at(30)).await?.len(), 1, "the more urgent one runs");
    assert_eq!(store.claim_all(at(30)).await?, [], "the suspect waits");
    store.request_cancel(other, at(30)).await?;
    store.reclaim_expired(at(60), 9).await?;
    assert_eq!(store.claim_all(at(60)).await?, [suspect]);
    Ok(())
}

async fn a_job_that_was_lost_twice_runs_alone(store: Fixture) -> anyhow::Result<()> {
    let suspect = lost_twice(&store).await?;
    let other = store.accept(job(), at(30)).await?;
    let leased = store.claim_up_to(9, at(30)).await?;
    assert_eq!(leased.iter().map(|leased| leased.job.id).collect::<Vec<_>>(), [suspect]);
    assert_eq!(store.claim_all(at(30)).await?, []);
    store.finish_with(&leased[0], Verdict::Complete, at(31)).await?;
    assert_eq!(store.claim_all(at(31)).await?, [other]);
    Ok(())
}

/// Otherwise it would wait as long as other jobs keep coming.
async fn a_job_that_must_run_alone_lets_others_pass_for_ten_minutes(
    store: Fixture,
) -> anyhow::Result<()> {
    let suspect = lost_twice(&store).await?;
    store.accept(job().priority(1), at(0)).await?;
    let running = store.claim_one(at(30)).await?;
    let passing = store.accept(job(), at(31)).await?;
    let passes = store.claim_one(at(31)).await?;
    assert_eq!(passes.job.id, passing);
    store.accept(job(), at(700)).await?;
    assert_eq!(store.claim_all(at(700)).await?, []);
    for leased in [&running, &passes] {
        store.finish_with(leased, Verdict::Complete, at(701)).await?;
    }
    assert_eq!(store.claim_all(at(701)).await?, [suspect]);
    Ok(())
}
