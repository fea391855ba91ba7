//! Attempts whose host died or stalled: the reaper takes the job back, and suspects it.

use jobwright_core::attempt::AttemptRecord;
use jobwright_core::job::{JobId, JobState, MAX_LOST, Verdict};
use jobwright_core::outcome::{Outcome, Usage};
use jobwright_core::report::ProgressUpdate;

use crate::conformance::drafts::{Draft as _, at, ending, job, jobs, progress_update};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    reclaimed_job_is_claimable_again,
    reclaim_takes_only_expired_leases,
    reclaim_takes_at_most_as_many_as_asked,
    a_lost_attempt_is_recorded_and_is_no_failure,
    an_attempt_that_ran_for_ten_seconds_does_not_count_when_it_is_lost,
    a_second_loss_counts_if_nothing_else_was_finished_since,
    progress_resets_the_count_of_losses,
    a_counted_failure_resets_the_count_of_losses,
    third_lost_attempt_discards,
];

async fn reclaimed_job_is_claimable_again(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    assert_eq!(store.reclaim_expired(at(30), 9).await?, [id]);
    let again = store.claim_one(at(30)).await?;
    assert_eq!((again.job.id, again.lease.attempt, again.lease.expires_at), (id, 2, at(60)));
    Ok(())
}

async fn reclaim_takes_only_expired_leases(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(3), at(0)).await?;
    let early = store.claim_one(at(0)).await?;
    let late = store.claim_one(at(1)).await?;
    assert_eq!(store.reclaim_expired(at(29), 9).await?, []);
    assert_eq!(store.reclaim_expired(at(30), 9).await?, [early.job.id]);
    assert_eq!(store.state(late.job.id).await?, JobState::Running);
    Ok(())
}

async fn reclaim_takes_at_most_as_many_as_asked(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(3), at(0)).await?;
    store.claim_up_to(3, at(0)).await?;
    for (asked, taken) in [(0, 0), (2, 2), (9, 1), (9, 0)] {
        assert_eq!(store.reclaim_expired(at(30), asked).await?.len(), taken);
    }
    Ok(())
}

async fn a_lost_attempt_is_recorded_and_is_no_failure(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(1)).await?;
    store.reclaim_expired(at(40), 9).await?;
    let job = store.job(id).await?;
    assert_eq!((job.lifecycle.lost, job.lifecycle.failures), (1, 0));
    let running = &leased.job.lifecycle;
    let record = AttemptRecord::new(running, &Outcome::Lost, Usage::default(), at(40));
    assert_eq!(job.attempts, [record]);
    Ok(())
}

/// Claims the only job at `begun`, records that its host is alive at `alive`, and loses it.
async fn lose(store: &Fixture, begun: i64, alive: i64) -> anyhow::Result<JobId> {
    let leased = store.claim_one(at(begun)).await?;
    store.renew(vec![leased.lease], at(alive + 30), at(alive)).await?;
    assert_eq!(store.reclaim_expired(at(alive + 30), 9).await?, [leased.job.id]);
    Ok(leased.job.id)
}

async fn an_attempt_that_ran_for_ten_seconds_does_not_count_when_it_is_lost(
    store: Fixture,
) -> anyhow::Result<()> {
    for (alive, lost) in [(9, 1), (10, 0)] {
        store.accept(job(), at(0)).await?;
        let id = lose(&store, 0, alive).await?;
        assert_eq!(store.job(id).await?.lifecycle.lost, lost, "alive after {alive} s");
        store.request_cancel(id, at(50)).await?;
    }
    Ok(())
}

async fn a_second_loss_counts_if_nothing_else_was_finished_since(
    store: Fixture,
) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for (begun, finishes, lost) in [(0, false, 0), (100, true, 0), (200, false, 1)] {
        if finishes {
            store.accept(job().queue("other").priority(1), at(begun)).await?;
            let other = store.claim_up_to(2, at(begun)).await?;
            for leased in other.iter().filter(|leased| leased.job.id != id) {
                store.finish_with(leased, Verdict::Complete, at(begun)).await?;
            }
            let leases = other.iter().map(|leased| leased.lease).collect();
            store.renew(leases, at(begun + 55), at(begun + 25)).await?;
            store.reclaim_expired(at(begun + 55), 9).await?;
        } else {
            lose(&store, begun, begun + 25).await?;
        }
        assert_eq!(store.job(id).await?.lifecycle.lost, lost, "begun at {begun} s");
    }
    Ok(())
}

async fn progress_resets_the_count_of_losses(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    lose(&store, 0, 0).await?;
    lose(&store, 50, 50).await?;
    let leased = store.claim_one(at(100)).await?;
    store.save_progress(leased.lease, ProgressUpdate::default()).await?;
    assert_eq!(store.job(id).await?.lifecycle.lost, 2, "nothing was saved");
    store.save_progress(leased.lease, progress_update(1)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.lost, lifecycle.lost_after), (0, None));
    // The job is not a suspect any more: others may start at the same time.
    let other = store.accept(job(), at(101)).await?;
    assert_eq!(store.claim_all(at(101)).await?, [other]);
    Ok(())
}

async fn a_counted_failure_resets_the_count_of_losses(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for begun in [0, 100, 200, 300] {
        lose(&store, begun, begun).await?;
        assert_eq!(store.job(id).await?.lifecycle.lost, 1);
        let mut end = ending(
            &store.claim_one(at(begun + 50)).await?,
            Verdict::Retry { at: at(begun + 60) },
            at(begun + 60),
        );
        end.told = ProgressUpdate::default();
        store.finish(end.into(), at(begun + 60)).await?;
        assert_eq!(store.job(id).await?.lifecycle.lost, 0);
    }
    Ok(())
}

async fn third_lost_attempt_discards(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for loss in 1..=MAX_LOST {
        store.claim_one(at(0)).await?;
        assert_eq!(store.reclaim_expired(at(30), 9).await?, [id], "loss {loss}");
    }
    let job = store.job(id).await?;
    assert_eq!((job.lifecycle.state, job.lifecycle.lost), (JobState::Discarded, MAX_LOST));
    assert_eq!(job.lifecycle.finalized_at, Some(at(30)));
    assert_eq!(job.attempts.len(), usize::from(MAX_LOST));
    assert_eq!(store.claim_all(at(99)).await?, []);
    Ok(())
}
