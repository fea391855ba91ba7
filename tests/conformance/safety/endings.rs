//! The effect of each verdict on a job.

use bytes::Bytes;
use jobwright_core::capacity::{CapacityLimits, KeptLimits};
use jobwright_core::job::{JobState, MAX_RECORDS, OutputInfo, Phase, Verdict};
use jobwright_core::outcome::Output;
use jobwright_core::store::Finished;

use crate::conformance::drafts::{at, ending, job};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    each_verdict_leads_to_its_state,
    a_retried_job_is_not_claimable_until_due,
    a_snooze_is_not_counted_as_an_attempt,
    a_snoozed_job_shows_as_scheduled_until_it_is_due,
    failures_are_counted,
    release_does_not_count_the_attempt,
    refusals_are_counted_separately,
    every_ended_attempt_is_recorded_in_order_with_its_usage,
    the_latest_records_are_kept,
    the_output_of_a_success_is_kept_unchanged,
    a_success_may_leave_no_output,
    the_output_of_a_failed_attempt_is_kept_until_a_later_one_replaces_it,
    outputs_of_failed_attempts_of_unfinished_jobs_are_bounded,
];

async fn each_verdict_leads_to_its_state(store: Fixture) -> anyhow::Result<()> {
    for (verdict, state) in [
        (Verdict::Complete, JobState::Completed),
        (Verdict::Discard, JobState::Discarded),
        (Verdict::Cancel, JobState::Cancelled),
        (Verdict::Retry { at: at(10) }, JobState::Available),
        (Verdict::Snooze { at: at(10) }, JobState::Available),
        (Verdict::Release { at: at(10), refused: false }, JobState::Available),
        (Verdict::Release { at: at(10), refused: true }, JobState::Available),
    ] {
        let id = store.accept(job(), at(0)).await?;
        let leased = store.claim_one(at(0)).await?;
        let answer = store.finish_with(&leased, verdict, at(1)).await?;
        assert_eq!(answer, Finished::Recorded(state), "{verdict:?}");
        let lifecycle = store.job(id).await?.lifecycle;
        assert_eq!(lifecycle.state, state, "{verdict:?}");
        assert_eq!(lifecycle.finalized_at, state.is_finalized().then(|| at(1)), "{verdict:?}");
    }
    Ok(())
}

async fn a_retried_job_is_not_claimable_until_due(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Retry { at: at(10) }, at(0)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.phase(at(9)), lifecycle.scheduled_at), (Phase::Retryable, at(10)));
    assert_eq!(store.claim_all(at(9)).await?, []);
    assert_eq!(store.claim_all(at(10)).await?, [id]);
    Ok(())
}

async fn a_snooze_is_not_counted_as_an_attempt(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for count in 1..=3_u16 {
        let now = at(i64::from(count));
        let leased = store.claim_one(now).await?;
        assert_eq!(leased.lease.attempt, u32::from(count), "the number fences");
        store.finish_with(&leased, Verdict::Snooze { at: now }, now).await?;
        let lifecycle = store.job(id).await?.lifecycle;
        assert_eq!((lifecycle.failures, lifecycle.snoozes), (0, count));
        assert_eq!(lifecycle.snoozed_since, Some(at(1)));
    }
    let leased = store.claim_one(at(9)).await?;
    store.finish_with(&leased, Verdict::Retry { at: at(9) }, at(9)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.failures, lifecycle.snoozes, lifecycle.snoozed_since), (1, 0, None));
    Ok(())
}

async fn a_snoozed_job_shows_as_scheduled_until_it_is_due(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Snooze { at: at(10) }, at(0)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.phase(at(9)), lifecycle.scheduled_at), (Phase::Scheduled, at(10)));
    assert_eq!(store.claim_all(at(9)).await?, []);
    assert_eq!(store.claim_all(at(10)).await?, [id]);
    Ok(())
}

async fn failures_are_counted(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for verdict in [Verdict::Retry { at: at(0) }, Verdict::Retry { at: at(0) }, Verdict::Discard] {
        let leased = store.claim_one(at(0)).await?;
        store.finish_with(&leased, verdict, at(0)).await?;
    }
    assert_eq!(store.job(id).await?.lifecycle.failures, 3);
    Ok(())
}

async fn release_does_not_count_the_attempt(store: Fixture) -> anyhow::Result<()> {
    let release = Verdict::Release { at: at(5), refused: false };
    let id = store.finished(release, at(0)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.attempt, lifecycle.failures, lifecycle.refused), (1, 0, 0));
    assert_eq!(store.claim_all(at(4)).await?, []);
    assert_eq!(store.claim_one(at(5)).await?.lease.attempt, 2);
    Ok(())
}

async fn refusals_are_counted_separately(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Release { at: at(5), refused: true }, at(0)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.failures, lifecycle.refused, lifecycle.lost), (0, 1, 0));
    Ok(())
}

async fn every_ended_attempt_is_recorded_in_order_with_its_usage(
    store: Fixture,
) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let mut records = Vec::new();
    for (now, verdict) in [
        (1, Verdict::Retry { at: at(1) }),
        (2, Verdict::Release { at: at(2), refused: false }),
        (3, Verdict::Release { at: at(3), refused: true }),
        (3, Verdict::Snooze { at: at(4) }),
        (4, Verdict::Discard),
    ] {
        let leased = store.claim_one(at(now)).await?;
        records.push(ending(&leased, verdict, at(now)).record);
        store.finish_with(&leased, verdict, at(now)).await?;
        assert_eq!(store.job(id).await?.attempts, records);
    }
    Ok(())
}

async fn the_latest_records_are_kept(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for _ in 0..MAX_RECORDS + 3 {
        let leased = store.claim_one(at(0)).await?;
        let release = Verdict::Release { at: at(0), refused: false };
        store.finish_with(&leased, release, at(0)).await?;
    }
    let kept = store.job(id).await?.attempts;
    let numbers = kept.into_iter().map(|record| record.attempt as usize);
    assert!(numbers.eq(4..=MAX_RECORDS + 3));
    Ok(())
}

async fn the_output_of_a_success_is_kept_unchanged(store: Fixture) -> anyhow::Result<()> {
    for bytes in [vec![], vec![0], b"{\"a\":1}".to_vec(), vec![0xff; 1 << 20]] {
        let id = store.accept(job(), at(0)).await?;
        let leased = store.claim_one(at(0)).await?;
        let output = Output { content_type: "image/png".to_owned(), bytes: Bytes::from(bytes) };
        let mut finish = ending(&leased, Verdict::Complete, at(0));
        finish.output = Some(output.clone());
        store.finish(finish.into(), at(0)).await?;
        let bytes = output.bytes.len() as u64;
        let stored = OutputInfo { content_type: "image/png".to_owned(), bytes, attempt: 1 };
        assert_eq!(store.job(id).await?.output, Some(stored));
        assert_eq!(store.output(id).await?, Some(output));
    }
    Ok(())
}

async fn a_success_may_leave_no_output(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    let mut finish = ending(&leased, Verdict::Complete, at(0));
    finish.output = None;
    store.finish(finish.into(), at(0)).await?;
    assert_eq!((store.job(id).await?.output, store.output(id).await?), (None, None));
    Ok(())
}

async fn the_output_of_a_failed_attempt_is_kept_until_a_later_one_replaces_it(
    store: Fixture,
) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let ends = async |output: Option<&'static str>, verdict| {
        let leased = store.claim_one(at(0)).await?;
        let mut finish = ending(&leased, verdict, at(0));
        finish.output = output.map(|text| Output::new(text.into(), None));
        store.finish(finish.into(), at(0)).await?;
        let kept = store.output(id).await?.map(|output| output.bytes);
        let told = store.job(id).await?.output.map(|stored| (stored.attempt, stored.bytes));
        anyhow::Ok((kept, told))
    };
    let kept =
        |text: &'static str, attempt| (Some(Bytes::from(text)), Some((attempt, text.len() as u64)));
    let retry = Verdict::Retry { at: at(0) };
    assert_eq!(ends(None, retry).await?, (None, None));
    assert_eq!(ends(Some("first"), retry).await?, kept("first", 2));
    assert_eq!(ends(None, Verdict::Snooze { at: at(0) }).await?, kept("first", 2));
    assert_eq!(ends(Some("second"), retry).await?, kept("second", 4));
    assert_eq!(ends(Some("last"), Verdict::Discard).await?, kept("last", 5));
    store.redrive(id, at(0)).await?;
    assert_eq!(ends(None, retry).await?, kept("last", 5));
    assert_eq!(ends(Some("again"), retry).await?, kept("again", 7));
    assert_eq!(ends(Some("done"), Verdict::Complete).await?, kept("done", 8));
    // A success without output removes the failed output.
    store.redrive(id, at(0)).await?;
    assert_eq!(ends(Some("failed"), retry).await?, kept("failed", 9));
    assert_eq!(ends(None, Verdict::Complete).await?, (None, None));
    Ok(())
}

async fn outputs_of_failed_attempts_of_unfinished_jobs_are_bounded(
    store: Fixture,
) -> anyhow::Result<()> {
    let kept = KeptLimits { checkpoint_bytes: 10, ..KeptLimits::default() };
    let store = store.bounded(CapacityLimits { kept, ..Default::default() })?;
    let ids = [store.accept(job(), at(0)).await?, store.accept(job(), at(0)).await?];
    let leased = store.claim_up_to(2, at(0)).await?;
    for (leased, verdict) in leased.iter().zip([at(9), at(9)].map(|at| Verdict::Retry { at })) {
        let mut finish = ending(leased, verdict, at(0));
        finish.output = Some(Output::new("6 byte".into(), None));
        store.finish(finish.into(), at(0)).await?;
    }
    assert!(store.output(ids[0]).await?.is_some());
    assert_eq!(store.output(ids[1]).await?, None, "there is no room beside the first");
    // Outputs of finalized jobs count as history, and make room.
    let leased = store.claim_up_to(2, at(9)).await?;
    store.finish_with(&leased[0], Verdict::Discard, at(9)).await?;
    let mut finish = ending(&leased[1], Verdict::Retry { at: at(9) }, at(9));
    finish.output = Some(Output::new("6 byte".into(), None));
    store.finish(finish.into(), at(9)).await?;
    assert!(store.output(ids[1]).await?.is_some());
    Ok(())
}
