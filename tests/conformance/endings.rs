//! What each verdict leaves of a job.

use bytes::Bytes;
use jobwright_core::job::{MAX_RECORDS, Stored};
use jobwright_core::lifecycle::{JobState, Phase};
use jobwright_core::outcome::Output;
use jobwright_core::retry::Verdict;
use jobwright_core::store::Finished;

use super::drafts::{at, ending, job};
use super::fixture::Fixture;
use super::laws;

laws![
    each_verdict_leads_to_its_state,
    retry_hides_until_due,
    failures_are_counted,
    release_does_not_count_the_attempt,
    refusals_are_counted_apart,
    every_ended_attempt_is_recorded_in_order_with_its_usage,
    the_latest_records_are_kept,
    the_output_of_a_success_is_kept_unchanged,
    a_success_may_leave_no_output,
    output_is_stored_only_for_completed,
];

async fn each_verdict_leads_to_its_state(store: Fixture) -> anyhow::Result<()> {
    for (verdict, state) in [
        (Verdict::Complete, JobState::Completed),
        (Verdict::Discard, JobState::Discarded),
        (Verdict::Cancel, JobState::Cancelled),
        (Verdict::Retry { at: at(10) }, JobState::Available),
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

async fn retry_hides_until_due(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Retry { at: at(10) }, at(0)).await?;
    let lifecycle = store.job(id).await?.lifecycle;
    assert_eq!((lifecycle.phase(at(9)), lifecycle.scheduled_at), (Phase::Retryable, at(10)));
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

async fn refusals_are_counted_apart(store: Fixture) -> anyhow::Result<()> {
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
        store.finish(finish, at(0)).await?;
        let stored =
            Stored { content_type: "image/png".to_owned(), bytes: output.bytes.len() as u64 };
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
    store.finish(finish, at(0)).await?;
    assert_eq!((store.job(id).await?.output, store.output(id).await?), (None, None));
    Ok(())
}

async fn output_is_stored_only_for_completed(store: Fixture) -> anyhow::Result<()> {
    let release = Verdict::Release { at: at(9), refused: false };
    let retry = Verdict::Retry { at: at(9) };
    for verdict in [retry, release, Verdict::Discard, Verdict::Cancel] {
        let id = store.finished(verdict, at(0)).await?;
        assert_eq!(store.job(id).await?.output, None, "{verdict:?}");
        assert_eq!(store.output(id).await?, None, "{verdict:?}");
    }
    Ok(())
}
