//! Cancelling, in every order with other transitions.

use jobwright_core::job::{CancelRequest, JobState, Verdict};
use jobwright_core::store::{Finished, Renewal};

use crate::conformance::drafts::{Draft as _, at, job, unknown};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    cancel_before_start_is_final,
    a_scheduled_job_can_be_cancelled,
    a_job_that_waits_for_a_retry_can_be_cancelled,
    cancel_while_running_reaches_the_lease_holder,
    the_first_cancel_request_is_remembered,
    a_cancel_request_turns_a_retry_into_cancelled,
    a_cancel_request_turns_a_release_into_cancelled,
    a_cancel_request_turns_a_reclaim_into_cancelled,
    complete_beats_cancel,
    discard_beats_cancel,
    cancel_answers_for_a_cancelled_job,
    cancel_answers_for_a_finalized_job,
    cancel_answers_for_an_unknown_job,
];

async fn cancel_before_start_is_final(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    assert_eq!(store.request_cancel(id, at(1)).await?, Some(CancelRequest::Cancelled));
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.state, lifecycle.finalized_at), (JobState::Cancelled, Some(at(1))));
    assert_eq!(store.claim_all(at(99)).await?, []);
    Ok(())
}

async fn a_scheduled_job_can_be_cancelled(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job().due(at(50)), at(0)).await?;
    assert_eq!(store.request_cancel(id, at(1)).await?, Some(CancelRequest::Cancelled));
    assert_eq!(store.claim_all(at(99)).await?, []);
    Ok(())
}

async fn a_job_that_waits_for_a_retry_can_be_cancelled(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Retry { at: at(50) }, at(0)).await?;
    assert_eq!(store.request_cancel(id, at(1)).await?, Some(CancelRequest::Cancelled));
    assert_eq!(store.job(id).await?.attempts.len(), 1);
    assert_eq!(store.claim_all(at(99)).await?, []);
    Ok(())
}

async fn cancel_while_running_reaches_the_lease_holder(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    assert_eq!(
        store.request_cancel(id, at(1)).await?,
        Some(CancelRequest::Stopping { attempt: 1 })
    );
    assert_eq!(store.state(id).await?, JobState::Running);
    assert_eq!(store.renew(vec![leased.lease], at(60), at(30)).await?, [Renewal::CancelRequested]);
    let answer = store.finish_with(&leased, Verdict::Cancel, at(2)).await?;
    assert_eq!(answer, Finished::Recorded(JobState::Cancelled));
    Ok(())
}

async fn the_first_cancel_request_is_remembered(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    for now in [1, 2] {
        assert_eq!(
            store.request_cancel(id, at(now)).await?,
            Some(CancelRequest::Stopping { attempt: 1 })
        );
    }
    assert_eq!(store.job(id).await?.lifecycle.cancel_requested_at, Some(at(1)));
    Ok(())
}

/// The state of a job that is cancelled while it runs and then ends with `verdict`.
async fn stopped_with(store: &Fixture, verdict: Verdict) -> anyhow::Result<JobState> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    store.request_cancel(id, at(1)).await?;
    let answer = store.finish_with(&leased, verdict, at(2)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!(answer, Finished::Recorded(lifecycle.state));
    assert_eq!(lifecycle.finalized_at, Some(at(2)));
    Ok(lifecycle.state)
}

async fn a_cancel_request_turns_a_retry_into_cancelled(store: Fixture) -> anyhow::Result<()> {
    for verdict in [Verdict::Retry { at: at(2) }, Verdict::Snooze { at: at(2) }] {
        assert_eq!(stopped_with(&store, verdict).await?, JobState::Cancelled);
    }
    Ok(())
}

async fn a_cancel_request_turns_a_release_into_cancelled(store: Fixture) -> anyhow::Result<()> {
    for refused in [false, true] {
        let release = Verdict::Release { at: at(2), refused };
        assert_eq!(stopped_with(&store, release).await?, JobState::Cancelled);
    }
    Ok(())
}

async fn a_cancel_request_turns_a_reclaim_into_cancelled(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    store.request_cancel(id, at(1)).await?;
    assert_eq!(store.reclaim_expired(at(30), 9).await?, [id]);
    assert_eq!(store.state(id).await?, JobState::Cancelled);
    Ok(())
}

async fn complete_beats_cancel(store: Fixture) -> anyhow::Result<()> {
    assert_eq!(stopped_with(&store, Verdict::Complete).await?, JobState::Completed);
    Ok(())
}

async fn discard_beats_cancel(store: Fixture) -> anyhow::Result<()> {
    assert_eq!(stopped_with(&store, Verdict::Discard).await?, JobState::Discarded);
    Ok(())
}

async fn cancel_answers_for_a_cancelled_job(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Cancel, at(0)).await?;
    let before = store.job(id).await?;
    assert_eq!(store.request_cancel(id, at(9)).await?, Some(CancelRequest::AlreadyCancelled));
    assert_eq!(store.job(id).await?, before);
    Ok(())
}

async fn cancel_answers_for_a_finalized_job(store: Fixture) -> anyhow::Result<()> {
    for (verdict, state) in
        [(Verdict::Complete, JobState::Completed), (Verdict::Discard, JobState::Discarded)]
    {
        let id = store.finished(verdict, at(0)).await?;
        let before = store.job(id).await?;
        assert_eq!(store.request_cancel(id, at(9)).await?, Some(CancelRequest::Finalized(state)));
        assert_eq!(store.job(id).await?, before);
    }
    Ok(())
}

async fn cancel_answers_for_an_unknown_job(store: Fixture) -> anyhow::Result<()> {
    assert_eq!(store.request_cancel(unknown(), at(0)).await?, None);
    Ok(())
}
