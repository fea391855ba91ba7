//! Leases: which one may end an attempt, and until when.

use jobwright_core::attempt::Lease;
use jobwright_core::job::{JobState, Verdict};
use jobwright_core::outcome::OutcomeKind;
use jobwright_core::store::{Finished, Renewal};

use crate::conformance::drafts::{at, job, jobs, unknown};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    finish_with_live_lease_is_recorded,
    finish_after_expiry_but_before_reclaim_is_recorded,
    second_finish_is_lease_lost,
    finish_after_expiry_and_reclaim_is_lease_lost,
    finish_of_an_older_attempt_is_lease_lost,
    a_lost_finish_leaves_no_trace,
    of_two_finishes_at_once_one_is_recorded,
    renew_extends_and_keeps_the_attempt,
    renew_reports_a_cancel_request,
    renew_reports_a_lost_lease,
    renew_answers_each_lease_in_order,
];

async fn finish_with_live_lease_is_recorded(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(1)).await?;
    let answer = store.finish_with(&leased, Verdict::Complete, at(2)).await?;
    assert_eq!(answer, Finished::Recorded(JobState::Completed));
    let job = store.job(id).await?;
    assert_eq!(job.lifecycle.state, JobState::Completed);
    assert_eq!(job.lifecycle.finalized_at, Some(at(2)));
    assert_eq!(store.claim_all(at(99)).await?, []);
    Ok(())
}

/// Only the reaper ends a lease: until then a late finish is accepted.
async fn finish_after_expiry_but_before_reclaim_is_recorded(store: Fixture) -> anyhow::Result<()> {
    store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    let answer = store.finish_with(&leased, Verdict::Complete, at(1000)).await?;
    assert_eq!(answer, Finished::Recorded(JobState::Completed));
    Ok(())
}

async fn second_finish_is_lease_lost(store: Fixture) -> anyhow::Result<()> {
    for first in [Verdict::Complete, Verdict::Discard, Verdict::Retry { at: at(0) }] {
        store.accept(job(), at(0)).await?;
        let leased = store.claim_one(at(0)).await?;
        store.finish_with(&leased, first, at(1)).await?;
        let answer = store.finish_with(&leased, Verdict::Complete, at(2)).await?;
        assert_eq!(answer, Finished::LeaseLost, "after {first:?}");
        store.claim_all(at(3)).await?;
    }
    Ok(())
}

async fn finish_after_expiry_and_reclaim_is_lease_lost(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    assert_eq!(store.reclaim_expired(at(30), 9).await?, [id]);
    let answer = store.finish_with(&leased, Verdict::Complete, at(31)).await?;
    assert_eq!(answer, Finished::LeaseLost);
    assert_eq!(store.state(id).await?, JobState::Available);
    Ok(())
}

async fn finish_of_an_older_attempt_is_lease_lost(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let first = store.claim_one(at(0)).await?;
    store.reclaim_expired(at(30), 9).await?;
    let second = store.claim_one(at(30)).await?;
    let answer = store.finish_with(&first, Verdict::Complete, at(31)).await?;
    assert_eq!(answer, Finished::LeaseLost);
    assert_eq!(store.state(id).await?, JobState::Running);
    let answer = store.finish_with(&second, Verdict::Complete, at(32)).await?;
    assert_eq!(answer, Finished::Recorded(JobState::Completed));
    Ok(())
}

async fn a_lost_finish_leaves_no_trace(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let lost = store.claim_one(at(0)).await?;
    store.reclaim_expired(at(30), 9).await?;
    let before = store.job(id).await?;
    store.finish_with(&lost, Verdict::Complete, at(31)).await?;
    assert_eq!(store.job(id).await?, before);
    assert_eq!(store.output(id).await?, None);
    let outcomes: Vec<_> = before.attempts.iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [OutcomeKind::Lost]);
    Ok(())
}

async fn of_two_finishes_at_once_one_is_recorded(store: Fixture) -> anyhow::Result<()> {
    for _ in 0..20 {
        store.accept(job(), at(0)).await?;
        let leased = store.claim_one(at(0)).await?;
        let (one, other) = tokio::try_join!(
            store.finish_with(&leased, Verdict::Complete, at(1)),
            store.finish_with(&leased, Verdict::Discard, at(1)),
        )?;
        let recorded = [one, other].into_iter().filter(|a| *a != Finished::LeaseLost).count();
        assert_eq!(recorded, 1, "{one:?}, {other:?}");
    }
    Ok(())
}

async fn renew_extends_and_keeps_the_attempt(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    assert_eq!(store.renew(vec![leased.lease], at(60), at(30)).await?, [Renewal::Extended]);
    assert_eq!(store.reclaim_expired(at(59), 9).await?, []);
    assert_eq!(store.job(id).await?, leased.job);
    let answer = store.finish_with(&leased, Verdict::Complete, at(59)).await?;
    assert_eq!(answer, Finished::Recorded(JobState::Completed));
    Ok(())
}

async fn renew_reports_a_cancel_request(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    store.request_cancel(id, at(1)).await?;
    assert_eq!(store.renew(vec![leased.lease], at(60), at(30)).await?, [Renewal::CancelRequested]);
    assert_eq!(store.reclaim_expired(at(59), 9).await?, [], "a stopping attempt keeps its lease");
    Ok(())
}

async fn renew_reports_a_lost_lease(store: Fixture) -> anyhow::Result<()> {
    store.accept(job(), at(0)).await?;
    let lost = store.claim_one(at(0)).await?;
    store.reclaim_expired(at(30), 9).await?;
    assert_eq!(store.renew(vec![lost.lease], at(60), at(30)).await?, [Renewal::LeaseLost]);
    let leased = store.claim_one(at(30)).await?;
    assert_eq!(store.renew(vec![lost.lease], at(90), at(60)).await?, [Renewal::LeaseLost]);
    store.finish_with(&leased, Verdict::Complete, at(31)).await?;
    assert_eq!(store.renew(vec![leased.lease], at(60), at(30)).await?, [Renewal::LeaseLost]);
    Ok(())
}

async fn renew_answers_each_lease_in_order(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(2), at(0)).await?;
    let leased = store.claim_up_to(2, at(0)).await?;
    store.request_cancel(leased[1].job.id, at(0)).await?;
    let nobody = Lease { job: unknown(), ..leased[0].lease };
    let leases = vec![leased[1].lease, nobody, leased[0].lease];
    let answers = [Renewal::CancelRequested, Renewal::LeaseLost, Renewal::Extended];
    assert_eq!(store.renew(leases, at(60), at(30)).await?, answers);
    assert_eq!(store.renew(vec![], at(60), at(30)).await?, []);
    Ok(())
}
