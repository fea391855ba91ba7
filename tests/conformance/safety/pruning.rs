//! Pruning: which jobs are removed, and which stay.

use jobwright_core::job::{JobId, Verdict};
use jobwright_core::log::LogSnapshot;
use jobwright_core::store::{JobFilter, Retention};

use crate::conformance::drafts::{Draft as _, at, job};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    prune_removes_only_finalized,
    prune_keeps_jobs_within_their_retention,
    each_state_has_its_retention,
    prune_removes_at_most_as_many_as_asked,
    prune_takes_payload_output_and_logs,
    a_redriven_job_is_not_pruned,
    a_pruned_job_cannot_be_redriven_or_cancelled,
];

/// A retention that prunes jobs finalized before `seconds`.
fn before(seconds: i64) -> Retention {
    let at = at(seconds);
    Retention { completed_before: at, discarded_before: at, now: at }
}

async fn left(store: &Fixture) -> anyhow::Result<Vec<JobId>> {
    let jobs = store.walk(JobFilter::default(), 100, at(0)).await?;
    Ok(jobs.into_iter().map(|job| job.id).collect())
}

async fn prune_removes_only_finalized(store: Fixture) -> anyhow::Result<()> {
    for verdict in [Verdict::Complete, Verdict::Discard, Verdict::Cancel] {
        store.finished(verdict, at(0)).await?;
    }
    let retryable = store.finished(Verdict::Retry { at: at(50) }, at(0)).await?;
    let running = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    let available = store.accept(job(), at(0)).await?;
    let scheduled = store.accept(job().due(at(50)), at(0)).await?;
    assert_eq!(store.prune(before(1_000_000), 100).await?, 3);
    assert_eq!(left(&store).await?, [scheduled, available, running, retryable]);
    Ok(())
}

async fn prune_keeps_jobs_within_their_retention(store: Fixture) -> anyhow::Result<()> {
    store.finished(Verdict::Complete, at(9)).await?;
    let young = store.finished(Verdict::Complete, at(10)).await?;
    assert_eq!(store.prune(before(10), 100).await?, 1);
    assert_eq!(left(&store).await?, [young]);
    assert_eq!(store.prune(before(10), 100).await?, 0);
    Ok(())
}

async fn each_state_has_its_retention(store: Fixture) -> anyhow::Result<()> {
    let completed = store.finished(Verdict::Complete, at(5)).await?;
    let cancelled = store.finished(Verdict::Cancel, at(5)).await?;
    let discarded = store.finished(Verdict::Discard, at(5)).await?;
    let retention = Retention { completed_before: at(1), discarded_before: at(9), now: at(9) };
    assert_eq!(store.prune(retention, 100).await?, 1);
    assert_eq!(left(&store).await?, [cancelled, completed]);
    store.redrive(cancelled, at(6)).await?;
    let leased = store.claim_one(at(6)).await?;
    store.finish_with(&leased, Verdict::Discard, at(6)).await?;
    let retention = Retention { completed_before: at(9), discarded_before: at(1), now: at(9) };
    assert_eq!(store.prune(retention, 100).await?, 1);
    assert_eq!(left(&store).await?, [cancelled], "it is discarded now; {discarded} went before");
    Ok(())
}

async fn prune_removes_at_most_as_many_as_asked(store: Fixture) -> anyhow::Result<()> {
    for verdict in [Verdict::Complete, Verdict::Discard, Verdict::Cancel, Verdict::Complete] {
        store.finished(verdict, at(0)).await?;
    }
    for (asked, removed, remain) in [(0, 0, 4), (1, 1, 3), (2, 2, 1), (9, 1, 0), (9, 0, 0)] {
        assert_eq!(store.prune(before(1), asked).await?, removed);
        assert_eq!(left(&store).await?.len(), remain);
    }
    Ok(())
}

async fn prune_takes_payload_output_and_logs(store: Fixture) -> anyhow::Result<()> {
    let log = || LogSnapshot { bytes: b"hello".to_vec(), kept_bytes: 5, dropped_bytes: 0 };
    let old = store.finished(Verdict::Complete, at(0)).await?;
    let young = store.finished(Verdict::Complete, at(5)).await?;
    for id in [old, young] {
        store.save_log(id, 1, log()).await?;
    }
    assert_eq!(store.prune(before(5), 100).await?, 1);
    assert_eq!((store.get(old).await?, store.output(old).await?), (None, None));
    assert_eq!(store.logs(old).await?, []);
    assert!(store.output(young).await?.is_some());
    assert_eq!(store.logs(young).await?.len(), 1);
    store.redrive(young, at(6)).await?;
    assert_eq!(store.claim_one(at(6)).await?.payload, job().payload);
    Ok(())
}

async fn a_redriven_job_is_not_pruned(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Complete, at(0)).await?;
    store.redrive(id, at(1)).await?;
    assert_eq!(store.prune(before(1000), 100).await?, 0);
    assert_eq!(left(&store).await?, [id]);
    Ok(())
}

async fn a_pruned_job_cannot_be_redriven_or_cancelled(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Complete, at(0)).await?;
    store.prune(before(1), 100).await?;
    assert_eq!(store.redrive(id, at(1)).await?, None);
    assert_eq!(store.request_cancel(id, at(1)).await?, None);
    Ok(())
}
