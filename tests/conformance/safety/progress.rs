//! Updates of running attempts: progress, and checkpoints for later attempts.

use jobwright_core::job::{JobId, Verdict};
use jobwright_core::report::ProgressUpdate;
use jobwright_core::store::{Finish, Finished};

use crate::conformance::drafts::{at, ending, job, progress_update};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    progress_is_kept_until_the_next_report,
    progress_survives_the_end_and_goes_with_a_redrive,
    absent_fields_of_an_update_stay_unchanged,
    a_checkpoint_is_given_to_the_next_attempt,
    a_checkpoint_survives_a_lost_attempt,
    a_checkpoint_goes_when_its_job_is_finalized,
    updates_without_the_lease_are_ignored,
];

async fn progress_is_kept_until_the_next_report(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    assert_eq!(store.job(id).await?.progress, None);
    let leased = store.claim_one(at(0)).await?;
    for n in [7, 8] {
        store.save_progress(leased.lease, progress_update(n)).await?;
        assert_eq!(store.job(id).await?.progress, progress_update(n).progress);
    }
    Ok(())
}

async fn progress_survives_the_end_and_goes_with_a_redrive(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Discard, at(0)).await?;
    assert_eq!(store.job(id).await?.progress, progress_update(1).progress);
    store.redrive(id, at(1)).await?;
    assert_eq!(store.job(id).await?.progress, None);
    Ok(())
}

async fn absent_fields_of_an_update_stay_unchanged(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    store.save_progress(leased.lease, progress_update(7)).await?;
    store
        .save_progress(leased.lease, ProgressUpdate { checkpoint: None, ..progress_update(8) })
        .await?;
    store
        .save_progress(leased.lease, ProgressUpdate { progress: None, ..progress_update(9) })
        .await?;
    let silent = ending(&leased, Verdict::Retry { at: at(1) }, at(1));
    store.finish(Finish { told: ProgressUpdate::default(), ..silent }.into(), at(1)).await?;
    assert_eq!(store.job(id).await?.progress, progress_update(8).progress);
    assert_eq!(store.claim_one(at(1)).await?.checkpoint, progress_update(9).checkpoint);
    Ok(())
}

async fn a_checkpoint_is_given_to_the_next_attempt(store: Fixture) -> anyhow::Result<()> {
    store.accept(job(), at(0)).await?;
    let first = store.claim_one(at(0)).await?;
    assert_eq!(first.checkpoint, None);
    store.finish_with(&first, Verdict::Retry { at: at(1) }, at(1)).await?;
    let second = store.claim_one(at(1)).await?;
    assert_eq!(second.checkpoint, progress_update(1).checkpoint);
    store.finish_with(&second, Verdict::Release { at: at(2), refused: false }, at(2)).await?;
    assert_eq!(store.claim_one(at(2)).await?.checkpoint, progress_update(2).checkpoint);
    Ok(())
}

async fn a_checkpoint_survives_a_lost_attempt(store: Fixture) -> anyhow::Result<()> {
    store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    store.save_progress(leased.lease, progress_update(7)).await?;
    store.reclaim_expired(at(30), 9).await?;
    assert_eq!(store.claim_one(at(30)).await?.checkpoint, progress_update(7).checkpoint);
    Ok(())
}

/// Whether the next attempt gets a checkpoint after a redrive.
async fn checkpoint_after_redrive(store: &Fixture, id: JobId) -> anyhow::Result<bool> {
    store.redrive(id, at(50)).await?;
    let leased = store.claim_one(at(50)).await?;
    assert!((leased.job.id, leased.lease.attempt) > (id, 1));
    Ok(leased.checkpoint.is_some())
}

async fn a_checkpoint_goes_when_its_job_is_finalized(store: Fixture) -> anyhow::Result<()> {
    for verdict in [Verdict::Complete, Verdict::Discard, Verdict::Cancel] {
        let id = store.finished(verdict, at(0)).await?;
        assert!(!checkpoint_after_redrive(&store, id).await?, "{verdict:?}");
    }
    let id = store.accept(job(), at(60)).await?;
    let leased = store.claim_one(at(60)).await?;
    store.finish_with(&leased, Verdict::Retry { at: at(99) }, at(60)).await?;
    store.request_cancel(id, at(61)).await?;
    assert!(!checkpoint_after_redrive(&store, id).await?, "cancelled while it waited");
    Ok(())
}

async fn updates_without_the_lease_are_ignored(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let stalled = store.claim_one(at(0)).await?;
    store.reclaim_expired(at(30), 9).await?;
    store.save_progress(stalled.lease, progress_update(7)).await?;
    let second = store.claim_one(at(30)).await?;
    assert_eq!((second.checkpoint, &store.job(id).await?.progress), (None, &None));
    store.save_progress(stalled.lease, progress_update(8)).await?;
    let late = store.finish_with(&stalled, Verdict::Complete, at(31)).await?;
    assert_eq!((late, store.job(id).await?.progress), (Finished::LeaseLost, None));
    Ok(())
}
