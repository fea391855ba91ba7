//! The time to live and the deadline of a job.

use std::sync::Arc;

use jobwright_core::change::{Event, Transition};
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::HoldNote;
use jobwright_core::job::{JobState, NewJob, TimeBound, Verdict};
use jobwright_core::store::Retention;

use crate::conformance::drafts::{Draft as _, at, job, paused};
use crate::conformance::fixture::{Fixture, want};
use crate::conformance::laws;

laws![
    a_job_that_did_not_start_in_time_expires_and_is_never_claimed,
    a_job_that_started_in_time_does_not_expire,
    a_time_to_live_begins_when_the_job_is_due,
    a_claim_begins_no_job_whose_time_is_over,
    a_job_under_a_hold_expires,
    a_claim_that_cannot_end_all_of_them_begins_none,
    a_deadline_ends_a_job_that_waits_for_a_retry,
    a_retry_or_snooze_behind_the_deadline_ends_the_job_at_once,
    a_deadline_does_not_end_a_running_job,
    a_job_that_is_retried_by_hand_has_no_bounds,
    the_next_end_is_a_time_to_claim_again,
    expired_jobs_are_kept_as_long_as_discarded_ones,
    subscribers_learn_which_bound_ended_a_job,
];

/// A job with a time to live and a deadline, in seconds.
pub(super) fn bounded(ttl: Option<u64>, deadline: Option<u64>) -> NewJob {
    let mut job = job();
    let spec = Arc::make_mut(&mut job.spec);
    (spec.ttl_ms, spec.deadline_ms) = (ttl.map(|s| s * 1000), deadline.map(|s| s * 1000));
    job
}

async fn a_job_that_did_not_start_in_time_expires_and_is_never_claimed(
    store: Fixture,
) -> anyhow::Result<()> {
    let id = store.accept(bounded(Some(10), None), at(0)).await?;
    assert_eq!(store.ends(at(9)).await?, 0);
    assert_eq!(store.state(id).await?, JobState::Available);
    assert_eq!(store.ends(at(10)).await?, 1);
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.state, lifecycle.finalized_at), (JobState::Expired, Some(at(10))));
    assert_eq!(lifecycle.ended_by(), Some(TimeBound::Ttl));
    assert_eq!(store.ends(at(99)).await?, 0);
    assert_eq!(store.claim_all(at(99)).await?, []);
    Ok(())
}

async fn a_job_that_started_in_time_does_not_expire(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(bounded(Some(10), None), at(0)).await?;
    let leased = store.claim_one(at(9)).await?;
    assert_eq!(store.ends(at(50)).await?, 0);
    store.finish_with(&leased, Verdict::Retry { at: at(60) }, at(50)).await?;
    assert_eq!(store.ends(at(99)).await?, 0);
    assert_eq!(store.claim_one(at(99)).await?.job.id, id);
    Ok(())
}

async fn a_time_to_live_begins_when_the_job_is_due(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(bounded(Some(10), None).due(at(100)), at(0)).await?;
    assert_eq!(store.ends(at(109)).await?, 0);
    assert_eq!(store.job(id).await?.lifecycle.start_by, Some(at(110)));
    assert_eq!(store.ends(at(110)).await?, 1);
    assert_eq!(store.state(id).await?, JobState::Expired);
    Ok(())
}

async fn a_claim_begins_no_job_whose_time_is_over(store: Fixture) -> anyhow::Result<()> {
    for (late, in_time) in [
        (bounded(Some(10), None), bounded(Some(11), None)),
        (bounded(None, Some(10)), bounded(None, Some(11))),
    ] {
        let late = store.accept(late, at(0)).await?;
        let in_time = store.accept(in_time, at(0)).await?;
        assert_eq!(store.claim_all(at(10)).await?, [in_time]);
        assert_eq!(store.state(late).await?, JobState::Expired);
    }
    Ok(())
}

async fn a_job_under_a_hold_expires(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(bounded(Some(10), None), at(0)).await?;
    store.set_held(paused("default"), Some(HoldNote::default())).await?;
    assert_eq!(store.ends(at(10)).await?, 1);
    assert_eq!(store.state(id).await?, JobState::Expired);
    Ok(())
}

async fn a_claim_that_cannot_end_all_of_them_begins_none(store: Fixture) -> anyhow::Result<()> {
    let late = (0..501).map(|_| bounded(Some(10), None)).collect();
    store.enqueue(late, at(0)).await?;
    let timely = store.accept(job(), at(0)).await?;
    let claimed = store.claim(want(9, at(10)), at(10)).await?;
    assert_eq!((claimed.leased, claimed.next_due, claimed.more), (vec![], Some(at(10)), true));
    let claimed = store.claim(want(9, at(10)), at(10)).await?;
    let begun: Vec<_> = claimed.leased.iter().map(|leased| leased.job.id).collect();
    assert_eq!(begun, [timely]);
    Ok(())
}

async fn a_deadline_ends_a_job_that_waits_for_a_retry(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(bounded(None, Some(30)), at(0)).await?;
    let leased = store.claim_one(at(1)).await?;
    store.finish_with(&leased, Verdict::Retry { at: at(29) }, at(2)).await?;
    assert_eq!(store.state(id).await?, JobState::Available);
    assert_eq!(store.ends(at(30)).await?, 1);
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!(lifecycle.state, JobState::Discarded, "it was tried");
    assert_eq!(lifecycle.ended_by(), Some(TimeBound::Deadline));
    let untried = store.accept(bounded(None, Some(30)), at(30)).await?;
    assert_eq!(store.ends(at(60)).await?, 1);
    let lifecycle = store.job(untried).await?.lifecycle;
    let expected = (JobState::Expired, Some(TimeBound::Deadline));
    assert_eq!((lifecycle.state, lifecycle.ended_by()), expected);
    Ok(())
}

async fn a_retry_or_snooze_behind_the_deadline_ends_the_job_at_once(
    store: Fixture,
) -> anyhow::Result<()> {
    for verdict in [Verdict::Retry { at: at(30) }, Verdict::Snooze { at: at(31) }] {
        let id = store.accept(bounded(None, Some(30)), at(0)).await?;
        let leased = store.claim_one(at(1)).await?;
        store.finish_with(&leased, verdict, at(2)).await?;
        let lifecycle = store.job(id).await?.lifecycle;
        let found = (lifecycle.state, lifecycle.finalized_at, lifecycle.ended_by());
        assert_eq!(found, (JobState::Discarded, Some(at(2)), Some(TimeBound::Deadline)));
    }
    Ok(())
}

async fn a_deadline_does_not_end_a_running_job(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(bounded(Some(10), Some(20)), at(0)).await?;
    let leased = store.claim_one(at(1)).await?;
    assert_eq!(store.ends(at(25)).await?, 0);
    store.finish_with(&leased, Verdict::Complete, at(25)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.state, lifecycle.ended_by()), (JobState::Completed, None));
    Ok(())
}

async fn a_job_that_is_retried_by_hand_has_no_bounds(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(bounded(Some(10), Some(20)), at(0)).await?;
    assert_eq!(store.ends(at(10)).await?, 1);
    store.redrive(id, at(50)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.start_by, lifecycle.end_by), (None, None));
    assert_eq!(store.ends(at(99)).await?, 0);
    assert_eq!(store.claim_one(at(99)).await?.job.id, id);
    Ok(())
}

async fn the_next_end_is_a_time_to_claim_again(store: Fixture) -> anyhow::Result<()> {
    store.accept(job().due(at(60)), at(0)).await?;
    let next =
        async |store: &Fixture| anyhow::Ok(store.claim(want(0, at(1)), at(1)).await?.next_due);
    assert_eq!(next(&store).await?, Some(at(60)));
    store.accept(bounded(Some(50), None), at(0)).await?;
    assert_eq!(next(&store).await?, Some(at(50)));
    store.accept(bounded(Some(50), Some(40)), at(0)).await?;
    assert_eq!(next(&store).await?, Some(at(40)));
    Ok(())
}

async fn expired_jobs_are_kept_as_long_as_discarded_ones(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(bounded(Some(10), None), at(0)).await?;
    store.ends(at(10)).await?;
    let retention = |completed: Timestamp, discarded: Timestamp| Retention {
        completed_before: completed,
        discarded_before: discarded,
        now: at(99),
    };
    assert_eq!(store.prune(retention(at(90), at(10)), 9).await?, 0);
    assert_eq!(store.state(id).await?, JobState::Expired);
    assert_eq!(store.prune(retention(at(0), at(11)), 9).await?, 1);
    Ok(())
}

async fn subscribers_learn_which_bound_ended_a_job(store: Fixture) -> anyhow::Result<()> {
    let mut changes = store.changes().subscribe();
    store.accept(bounded(Some(10), None), at(0)).await?;
    store.ends(at(10)).await?;
    let mut errors = Vec::new();
    while errors.is_empty() {
        let change = changes.recv().await?;
        if let Event::Job(event) = &change.event
            && let Transition::Finalized { state, error } = &event.transition
        {
            errors.push((*state, error.as_ref().map(|error| error.code.clone())));
        }
    }
    assert_eq!(errors, [(JobState::Expired, Some("ttl".to_owned()))]);
    Ok(())
}
