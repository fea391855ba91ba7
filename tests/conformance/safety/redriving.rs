//! Retrying a job on request.

use jobwright_core::capacity::{CapacityLimits, QueueFull};
use jobwright_core::job::{JobState, MAX_LOST, Verdict};
use jobwright_core::outcome::Output;
use jobwright_core::store::{Finish, Redriven};

use crate::conformance::drafts::{Draft as _, at, ending, job, named, unknown};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    a_finalized_job_is_due_again,
    redrive_keeps_the_attempts_and_resets_the_counts,
    an_attempt_number_is_never_used_twice,
    the_output_of_a_success_is_gone_after_redrive,
    the_output_of_a_failed_attempt_is_there_after_redrive,
    the_output_of_a_failed_attempt_is_counted_after_redrive,
    the_payload_is_still_there_after_redrive,
    a_scheduled_job_is_due_at_once,
    a_job_that_waits_for_a_retry_is_due_at_once_with_its_counts,
    a_running_job_cannot_be_retried,
    an_unknown_job_cannot_be_redriven,
    redrive_of_a_finalized_job_needs_room,
    redrive_of_a_waiting_job_needs_no_room,
    a_redriven_job_can_be_cancelled_and_redriven_again,
];

async fn a_finalized_job_is_due_again(store: Fixture) -> anyhow::Result<()> {
    for verdict in [Verdict::Complete, Verdict::Discard, Verdict::Cancel] {
        let id = store.finished(verdict, at(0)).await?;
        assert_eq!(store.redrive(id, at(5)).await?, Some(Redriven::Due), "{verdict:?}");
        let lifecycle = store.job(id).await?.lifecycle;
        assert_eq!((lifecycle.state, lifecycle.finalized_at), (JobState::Available, None));
        assert_eq!(lifecycle.scheduled_at, at(5));
        assert_eq!(store.claim_all(at(5)).await?, [id], "{verdict:?}");
    }
    Ok(())
}

async fn redrive_keeps_the_attempts_and_resets_the_counts(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    store.finish_with(&leased, Verdict::Retry { at: at(0) }, at(0)).await?;
    for _ in 0..MAX_LOST {
        store.claim_one(at(0)).await?;
        store.reclaim_expired(at(30), 9).await?;
    }
    let before = store.job(id).await?;
    assert_eq!((before.lifecycle.failures, before.lifecycle.lost), (1, MAX_LOST));
    store.redrive(id, at(31)).await?;
    let after = store.job(id).await?;
    assert_eq!((after.lifecycle.failures, after.lifecycle.lost), (0, 0));
    assert_eq!((after.attempts.len(), after.attempts), (4, before.attempts));
    Ok(())
}

async fn an_attempt_number_is_never_used_twice(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for attempt in 1..=3 {
        let leased = store.claim_one(at(0)).await?;
        assert_eq!(leased.lease.attempt, attempt);
        store.finish_with(&leased, Verdict::Complete, at(0)).await?;
        store.redrive(id, at(0)).await?;
    }
    Ok(())
}

async fn the_output_of_a_failed_attempt_is_there_after_redrive(
    store: Fixture,
) -> anyhow::Result<()> {
    for verdict in [Verdict::Discard, Verdict::Cancel] {
        let id = store.finished(verdict, at(0)).await?;
        let (stored, output) = (store.job(id).await?.output, store.output(id).await?);
        assert!(output.is_some(), "{verdict:?}");
        store.redrive(id, at(1)).await?;
        assert_eq!(store.job(id).await?.output, stored, "{verdict:?}");
        assert_eq!(store.output(id).await?, output, "{verdict:?}");
        let leased = store.claim_one(at(1)).await?;
        let finish = Finish { output: None, ..ending(&leased, Verdict::Complete, at(1)) };
        store.finish(finish.into(), at(1)).await?;
        assert_eq!((store.job(id).await?.output, store.output(id).await?), (None, None));
    }
    Ok(())
}

async fn the_output_of_a_failed_attempt_is_counted_after_redrive(
    store: Fixture,
) -> anyhow::Result<()> {
    let mut limits = CapacityLimits::default();
    limits.kept.checkpoint_bytes = 30;
    let store = store.bounded(limits)?;
    let mut left = vec![];
    for _ in 0..2 {
        let id = store.finished(Verdict::Discard, at(0)).await?;
        store.redrive(id, at(1)).await?;
        left.push(store.output(id).await?.is_some());
        let leased = store.claim_one(at(1)).await?;
        let end = ending(&leased, Verdict::Retry { at: at(99) }, at(1));
        store.finish(Finish { output: None, ..end }.into(), at(1)).await?;
    }
    assert_eq!(left, [true, false], "of 19 bytes each, one fits");
    Ok(())
}

async fn the_output_of_a_success_is_gone_after_redrive(store: Fixture) -> anyhow::Result<()> {
    // Long outputs are stored separately from the row of the job.
    for length in [10, 10_000] {
        let id = store.accept(job(), at(0)).await?;
        let leased = store.claim_one(at(0)).await?;
        let output = Some(Output::new(vec![b'x'; length].into(), None));
        let finish = Finish { output, ..ending(&leased, Verdict::Complete, at(0)) };
        store.finish(finish.into(), at(0)).await?;
        assert!(store.output(id).await?.is_some());
        store.redrive(id, at(1)).await?;
        assert_eq!((store.job(id).await?.output, store.output(id).await?), (None, None));
        let leased = store.claim_one(at(1)).await?;
        let finish = Finish { output: None, ..ending(&leased, Verdict::Discard, at(1)) };
        store.finish(finish.into(), at(1)).await?;
        assert_eq!((store.job(id).await?.output, store.output(id).await?), (None, None));
    }
    Ok(())
}

async fn the_payload_is_still_there_after_redrive(store: Fixture) -> anyhow::Result<()> {
    for length in [4, 10_000] {
        store.accept(job().payload(vec![b'x'; length]), at(0)).await?;
        let first = store.claim_one(at(0)).await?;
        store.finish_with(&first, Verdict::Complete, at(0)).await?;
        store.redrive(first.job.id, at(0)).await?;
        assert_eq!(store.claim_one(at(0)).await?.payload, first.payload);
    }
    Ok(())
}

async fn a_scheduled_job_is_due_at_once(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job().due(at(100)), at(0)).await?;
    assert_eq!(store.redrive(id, at(1)).await?, Some(Redriven::Due));
    assert_eq!(store.claim_all(at(1)).await?, [id]);
    Ok(())
}

async fn a_job_that_waits_for_a_retry_is_due_at_once_with_its_counts(
    store: Fixture,
) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Retry { at: at(100) }, at(0)).await?;
    assert_eq!(store.redrive(id, at(1)).await?, Some(Redriven::Due));
    assert_eq!(store.job(id).await?.lifecycle.failures, 1);
    assert_eq!(store.claim_all(at(1)).await?, [id]);
    Ok(())
}

async fn a_running_job_cannot_be_retried(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    assert_eq!(store.redrive(id, at(1)).await?, Some(Redriven::Running));
    assert_eq!(store.job(id).await?, leased.job);
    Ok(())
}

async fn an_unknown_job_cannot_be_redriven(store: Fixture) -> anyhow::Result<()> {
    assert_eq!(store.redrive(unknown(), at(0)).await?, None);
    Ok(())
}

async fn redrive_of_a_finalized_job_needs_room(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { per_queue: 1, ..Default::default() })?;
    let over = store.finished(Verdict::Complete, at(0)).await?;
    let waiting = store.accept(job(), at(0)).await?;
    let before = store.job(over).await?;
    let full = QueueFull::Queue { queue: named("default"), depth: 1, capacity: 1 };
    assert_eq!(store.redrive(over, at(1)).await?, Some(Redriven::QueueFull(full)));
    assert_eq!(store.job(over).await?, before);
    assert!(store.output(over).await?.is_some());
    store.request_cancel(waiting, at(2)).await?;
    assert_eq!(store.redrive(over, at(3)).await?, Some(Redriven::Due));
    Ok(())
}

async fn redrive_of_a_waiting_job_needs_no_room(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { total: 1, ..Default::default() })?;
    let id = store.accept(job().due(at(9)), at(0)).await?;
    assert_eq!(store.redrive(id, at(1)).await?, Some(Redriven::Due));
    Ok(())
}

async fn a_redriven_job_can_be_cancelled_and_redriven_again(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Complete, at(0)).await?;
    for now in 1..4 {
        assert_eq!(store.redrive(id, at(now)).await?, Some(Redriven::Due));
        store.request_cancel(id, at(now)).await?;
        assert_eq!(store.state(id).await?, JobState::Cancelled);
    }
    Ok(())
}
