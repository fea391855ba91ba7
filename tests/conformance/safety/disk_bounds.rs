//! History, logs, keys and checkpoints are bounded: the oldest make room for the latest.

use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::capacity::{CapacityLimits, KeptLimits, QueueFull};
use jobwright_core::job::{JobId, JobState, Verdict};
use jobwright_core::log::LogSnapshot;
use jobwright_core::report::ProgressUpdate;
use jobwright_core::store::{Enqueued, Finish, JobFilter, Leased, Retention};

use crate::conformance::drafts::{Draft as _, at, ending, job, named, of};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    the_oldest_history_makes_room_for_the_latest,
    waiting_jobs_are_not_history,
    keys_and_checkpoints_are_not_history,
    idempotency_keys_are_bounded,
    the_oldest_logs_make_room_for_the_latest,
    checkpoints_are_kept_while_there_is_room,
    a_removed_checkpoint_makes_room,
    a_dropped_checkpoint_still_resets_the_count_of_losses,
    an_old_job_that_was_just_finalized_is_not_trimmed_first,
    history_of_the_tenant_with_the_most_is_removed_first,
    logs_of_the_tenant_with_the_most_are_removed_first,
    a_checkpoint_of_another_tenant_displaces_one_of_the_tenant_that_holds_most,
    jobs_and_keys_of_one_tenant_leave_room_to_another,
];

const MIB: usize = 1 << 20;

/// A store with changed bounds.
fn keeping(store: Fixture, change: impl FnOnce(&mut KeptLimits)) -> anyhow::Result<Fixture> {
    let mut limits = CapacityLimits::default();
    change(&mut limits.kept);
    store.bounded(limits)
}

/// A finalized job with a payload of `length` bytes.
async fn over(store: &Fixture, length: usize, second: i64) -> anyhow::Result<JobId> {
    let id = store.accept(job().payload(vec![7; length]), at(second)).await?;
    let leased = store.claim_one(at(second)).await?;
    store.finish_with(&leased, Verdict::Complete, at(second)).await?;
    Ok(id)
}

async fn the_oldest_history_makes_room_for_the_latest(store: Fixture) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.history_bytes = 8 * MIB as u64)?;
    let mut ended = Vec::new();
    for second in 0..40 {
        ended.push(over(&store, MIB, second).await?);
    }
    let left = store.walk(JobFilter::default(), 100, at(40)).await?;
    // Drivers may count slightly differently.
    assert!((4..=8).contains(&left.len()), "{}", left.len());
    let left: Vec<JobId> = left.into_iter().rev().map(|job| job.id).collect();
    assert_eq!(left, ended[40 - left.len()..]);
    assert!(store.output(left[0]).await?.is_some());
    Ok(())
}

async fn waiting_jobs_are_not_history(store: Fixture) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.history_bytes = 4 * MIB as u64)?;
    let ended = over(&store, MIB, 0).await?;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(store.accept(job().payload(vec![7; MIB]), at(1)).await?);
    }
    assert_eq!(store.state(ended).await?, JobState::Completed);
    assert_eq!(store.claim_all(at(1)).await?, waiting);
    Ok(())
}

async fn keys_and_checkpoints_are_not_history(store: Fixture) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.history_bytes = 4 * MIB as u64)?;
    let ended = over(&store, MIB, 0).await?;
    for key in 0..8 {
        let mut asked = job().key(&format!("{key}"), "body").due(at(1_000));
        Arc::make_mut(&mut asked.spec).tags = vec!["x".repeat(MIB)];
        store.accept(asked, at(0)).await?;
    }
    for _ in 0..8 {
        store.accept(job(), at(0)).await?;
        let running = store.claim_one(at(0)).await?;
        store.save_progress(running.lease, checkpoint(MIB)).await?;
    }
    // This call makes the store trim.
    over(&store, MIB, 1).await?;
    assert_eq!(store.state(ended).await?, JobState::Completed);
    Ok(())
}

async fn idempotency_keys_are_bounded(store: Fixture) -> anyhow::Result<()> {
    let first = job().key("first", "body");
    let length = first.dedup.as_ref().map_or(0, |key| key.bytes(&first.spec));
    let store = keeping(store, |kept| kept.key_bytes = length)?;
    store.accept(first, at(0)).await?;
    let refused = store.offer(job().key("other", "body"), at(0)).await?;
    let full = QueueFull::Keys { depth_bytes: length, capacity_bytes: length };
    assert_eq!(refused, Enqueued::QueueFull(full));
    // Stored keys are answered, and jobs without a key are accepted.
    let again = store.offer(job().key("first", "body"), at(0)).await?;
    assert!(matches!(again, Enqueued::Duplicate(_)), "{again:?}");
    store.accept(job(), at(0)).await?;
    // There is room again when the keys have expired.
    let retention = Retention { completed_before: at(0), discarded_before: at(0), now: at(90_000) };
    store.prune(retention, 10).await?;
    store.accept(job().key("other", "body"), at(90_000)).await?;
    Ok(())
}

async fn the_oldest_logs_make_room_for_the_latest(store: Fixture) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.log_bytes = 8 * MIB as u64)?;
    let bytes = vec![b'x'; MIB];
    let log = LogSnapshot { bytes, kept_bytes: MIB as u64, dropped_bytes: 0 };
    let mut ids = Vec::new();
    for second in 0..200 {
        let id = store.accept(job(), at(second)).await?;
        store.save_log(id, 1, log.clone()).await?;
        ids.push(id);
    }
    let mut left = Vec::new();
    for id in &ids {
        if !store.logs(*id).await?.is_empty() {
            left.push(*id);
        }
    }
    assert!((1..=8).contains(&left.len()), "{}", left.len());
    assert_eq!(left, ids[200 - left.len()..]);
    Ok(())
}

fn checkpoint(length: usize) -> ProgressUpdate {
    ProgressUpdate { checkpoint: Some(Bytes::from(vec![7; length])), ..ProgressUpdate::default() }
}

/// A job in its second attempt, whose first saved a checkpoint of `length` bytes.
async fn retried(store: &Fixture, length: usize) -> anyhow::Result<Leased> {
    store.accept(job(), at(0)).await?;
    let first = store.claim_one(at(0)).await?;
    let end = ending(&first, Verdict::Retry { at: at(0) }, at(0));
    store.finish(Finish { told: checkpoint(length), ..end }.into(), at(0)).await?;
    store.claim_one(at(0)).await
}

fn length(leased: &Leased) -> Option<usize> {
    leased.checkpoint.as_ref().map(Bytes::len)
}

async fn checkpoints_are_kept_while_there_is_room(store: Fixture) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.checkpoint_bytes = 1000)?;
    assert_eq!(length(&retried(&store, 600).await?), Some(600));
    let second = retried(&store, 400).await?;
    assert_eq!(length(&second), Some(400));
    assert_eq!(length(&retried(&store, 1).await?), None, "there is no room");
    // A checkpoint that is too long does not replace the earlier one.
    store.save_progress(second.lease, checkpoint(401)).await?;
    let end = ending(&second, Verdict::Retry { at: at(0) }, at(0));
    store.finish(Finish { told: ProgressUpdate::default(), ..end }.into(), at(0)).await?;
    assert_eq!(length(&store.claim_one(at(0)).await?), Some(400));
    Ok(())
}

async fn a_removed_checkpoint_makes_room(store: Fixture) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.checkpoint_bytes = 1000)?;
    let first = retried(&store, 1000).await?;
    store.finish_with(&first, Verdict::Complete, at(0)).await?;
    let second = retried(&store, 900).await?;
    assert_eq!(length(&second), Some(900));
    store.save_progress(second.lease, checkpoint(50)).await?;
    assert_eq!(length(&retried(&store, 950).await?), Some(950));
    Ok(())
}

async fn a_dropped_checkpoint_still_resets_the_count_of_losses(
    store: Fixture,
) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.checkpoint_bytes = 10)?;
    let id = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    store.reclaim_expired(at(30), 9).await?;
    assert_eq!(store.job(id).await?.lifecycle.lost, 1);
    let again = store.claim_one(at(30)).await?;
    store.save_progress(again.lease, checkpoint(11)).await?;
    assert_eq!(store.job(id).await?.lifecycle.lost, 0);
    Ok(())
}

async fn an_old_job_that_was_just_finalized_is_not_trimmed_first(
    store: Fixture,
) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.history_bytes = 8 * MIB as u64)?;
    let old = store.accept(job().payload(vec![7; MIB]), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    for second in 0..20 {
        over(&store, MIB, second).await?;
    }
    store.finish_with(&leased, Verdict::Complete, at(20)).await?;
    for second in 20..23 {
        over(&store, MIB, second).await?;
    }
    assert_eq!(store.state(old).await?, JobState::Completed);
    Ok(())
}

async fn history_of_the_tenant_with_the_most_is_removed_first(
    store: Fixture,
) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.history_bytes = 8 * MIB as u64)?;
    let finished = async |tenant: &str, length: usize, second: i64| {
        let id = store.accept(of(tenant).payload(vec![7; length]), at(second)).await?;
        let leased = store.claim_one(at(second)).await?;
        store.finish_with(&leased, Verdict::Complete, at(second)).await?;
        anyhow::Ok(id)
    };
    let modest = finished("modest", 1000, 0).await?;
    for second in 1..40 {
        finished("greedy", MIB, second).await?;
    }
    assert_eq!(store.state(modest).await?, JobState::Completed);
    Ok(())
}

async fn logs_of_the_tenant_with_the_most_are_removed_first(store: Fixture) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.log_bytes = 8 * MIB as u64)?;
    let log = |length: usize| LogSnapshot {
        bytes: vec![b'x'; length],
        kept_bytes: length as u64,
        dropped_bytes: 0,
    };
    let modest = store.accept(of("modest"), at(0)).await?;
    store.save_log(modest, 1, log(1000)).await?;
    for second in 1..100 {
        let id = store.accept(of("greedy"), at(second)).await?;
        store.save_log(id, 1, log(MIB)).await?;
        store.save_log(id, 1, log(MIB)).await?;
    }
    assert_eq!(store.logs(modest).await?.len(), 1);
    Ok(())
}

async fn a_checkpoint_of_another_tenant_displaces_one_of_the_tenant_that_holds_most(
    store: Fixture,
) -> anyhow::Result<()> {
    let store = keeping(store, |kept| kept.checkpoint_bytes = 1000)?;
    let mut running = vec![];
    for (tenant, length) in [("greedy", 400), ("greedy", 600), ("modest", 300)] {
        store.accept(of(tenant), at(0)).await?;
        let leased = store.claim_one(at(0)).await?;
        store.save_progress(leased.lease, checkpoint(length)).await?;
        running.push(leased);
    }
    let mut kept = vec![];
    for leased in &running {
        let end = ending(leased, Verdict::Retry { at: at(0) }, at(0));
        store.finish(Finish { told: ProgressUpdate::default(), ..end }.into(), at(0)).await?;
        kept.push(length(&store.claim_one(at(0)).await?));
    }
    assert_eq!(kept, [None, Some(600), Some(300)]);
    Ok(())
}

async fn jobs_and_keys_of_one_tenant_leave_room_to_another(store: Fixture) -> anyhow::Result<()> {
    let mut limits = CapacityLimits { total: 16, ..CapacityLimits::default() };
    limits.kept.key_bytes = 1 << 20;
    let store = store.bounded(limits)?;
    let refused = loop {
        match store.offer(of("greedy"), at(0)).await? {
            Enqueued::Inserted => {}
            Enqueued::QueueFull(full) => break full,
            other => anyhow::bail!("{other:?}"),
        }
    };
    // This is not a limit per tenant.
    let share = QueueFull::Share { tenant: named("greedy"), depth: 14, capacity: 14 };
    assert_eq!(refused, share);
    store.accept(of("modest"), at(0)).await?;
    Ok(())
}
