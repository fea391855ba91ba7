//! Stored data is returned unchanged, and unknown ids return nothing.

use std::sync::Arc;

use jobwright_core::attempt::Lease;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Lifecycle, MAX_RECORDS, Verdict};
use jobwright_core::log::LogSnapshot;
use jobwright_core::store::{AttemptLog, Finished, Retention};

use crate::conformance::drafts::{Draft as _, at, ending, job, unknown};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    a_stored_job_is_what_was_enqueued,
    timestamps_round_trip_to_the_microsecond,
    a_payload_is_kept_as_long_as_its_job,
    reads_of_unknown_ids_return_none,
    an_empty_batch_is_answered_empty,
    logs_are_replaced_per_attempt_and_listed_oldest_first,
    logs_of_the_latest_attempts_are_listed,
    a_log_round_trips_unchanged,
    logs_are_kept_while_and_after_the_job_runs,
    a_new_store_is_ready,
];

async fn a_stored_job_is_what_was_enqueued(store: Fixture) -> anyhow::Result<()> {
    let mut draft = job().queue("bulk").priority(3).due(at(60)).memory(u64::from(u32::MAX) + 1);
    Arc::make_mut(&mut draft.spec).tags = vec!["a".to_owned(), "b\"c".to_owned(), String::new()];
    Arc::make_mut(&mut draft.spec).deterministic = true;
    Arc::make_mut(&mut draft.spec).max_attempts = 25;
    store.accept(draft.clone(), at(7)).await?;
    let stored = store.job(draft.id).await?;
    assert_eq!((stored.id, stored.spec, stored.created_at), (draft.id, draft.spec, at(7)));
    assert_eq!(stored.lifecycle, Lifecycle::new(at(60)));
    assert_eq!((stored.attempts, stored.output), (vec![], None));
    Ok(())
}

async fn timestamps_round_trip_to_the_microsecond(store: Fixture) -> anyhow::Result<()> {
    let time = |micros: i64| Timestamp::from_microsecond(at(0).as_microsecond() + micros);
    let id = store.accept(job().due(time(234_567)?), time(1)?).await?;
    let leased = store.claim_one(time(345_678)?).await?;
    store.request_cancel(id, time(456_789)?).await?;
    store.finish_with(&leased, Verdict::Discard, time(567_891)?).await?;
    let stored = store.job(id).await?;
    assert_eq!(stored.created_at, time(1)?);
    assert_eq!(stored.lifecycle.scheduled_at, time(234_567)?);
    assert_eq!(stored.lifecycle.attempted_at, Some(time(345_678)?));
    assert_eq!(stored.lifecycle.cancel_requested_at, Some(time(456_789)?));
    assert_eq!(stored.lifecycle.finalized_at, Some(time(567_891)?));
    assert_eq!(stored.attempts[0].attempted_at, time(345_678)?);
    assert_eq!(stored.attempts[0].ended_at, time(567_891)?);
    Ok(())
}

async fn a_payload_is_kept_as_long_as_its_job(store: Fixture) -> anyhow::Result<()> {
    let (mut typed, bare) = (job(), job());
    typed.payload.content_type = Some("text/csv".to_owned());
    typed.payload.bytes = vec![0, 0xff, b'\n'].into();
    for draft in [&typed, &bare] {
        store.accept(draft.clone(), at(0)).await?;
    }
    assert_eq!(store.payload(typed.id).await?, Some(typed.payload.clone()), "while it waits");
    assert_eq!(store.payload(bare.id).await?, Some(bare.payload), "without a media type");
    let leased = store.claim_one(at(0)).await?;
    store.finish_with(&leased, Verdict::Complete, at(1)).await?;
    assert_eq!(store.payload(typed.id).await?, Some(typed.payload), "when it is over");
    let retention = Retention { completed_before: at(9), discarded_before: at(9), now: at(9) };
    store.prune(retention, 9).await?;
    assert_eq!(store.payload(typed.id).await?, None, "when it was pruned");
    Ok(())
}

async fn reads_of_unknown_ids_return_none(store: Fixture) -> anyhow::Result<()> {
    store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    let id = unknown();
    assert_eq!(store.get(id).await?, None);
    assert_eq!(store.output(id).await?, None);
    assert_eq!(store.payload(id).await?, None);
    assert_eq!(store.logs(id).await?, []);
    let mut finish = ending(&leased, Verdict::Complete, at(0));
    finish.lease = Lease { job: id, ..leased.lease };
    assert_eq!(store.finish(finish.into(), at(0)).await?, Finished::LeaseLost);
    Ok(())
}

async fn an_empty_batch_is_answered_empty(store: Fixture) -> anyhow::Result<()> {
    assert_eq!(store.enqueue(vec![], at(0)).await?, []);
    Ok(())
}

fn log(text: &str) -> LogSnapshot {
    let bytes = text.as_bytes().to_vec();
    LogSnapshot { kept_bytes: bytes.len() as u64, dropped_bytes: 7, bytes }
}

async fn logs_are_replaced_per_attempt_and_listed_oldest_first(
    store: Fixture,
) -> anyhow::Result<()> {
    let (id, other) = (store.accept(job(), at(0)).await?, store.accept(job(), at(0)).await?);
    for (attempt, text) in [(2, "second"), (10, "tenth"), (1, "fir"), (1, "first")] {
        store.save_log(id, attempt, log(text)).await?;
    }
    store.save_log(other, 1, log("of another job")).await?;
    let expected = [(1, "first"), (2, "second"), (10, "tenth")]
        .map(|(attempt, text)| AttemptLog { attempt, log: log(text) });
    assert_eq!(store.logs(id).await?, expected);
    Ok(())
}

/// A job that is retried many times must not bring all its logs into memory at once.
async fn logs_of_the_latest_attempts_are_listed(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let latest = MAX_RECORDS as u32 + 3;
    for attempt in 1..=latest {
        store.save_log(id, attempt, log("hello")).await?;
    }
    let listed: Vec<u32> = store.logs(id).await?.iter().map(|log| log.attempt).collect();
    assert_eq!(listed, (4..=latest).collect::<Vec<_>>());
    Ok(())
}

async fn a_log_round_trips_unchanged(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for bytes in [vec![], vec![0], vec![0xff; 256 << 10]] {
        let log = LogSnapshot { bytes, kept_bytes: 3, dropped_bytes: u64::MAX };
        store.save_log(id, 1, log.clone()).await?;
        assert_eq!(store.logs(id).await?, [AttemptLog { attempt: 1, log }]);
    }
    Ok(())
}

async fn logs_are_kept_while_and_after_the_job_runs(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    store.save_log(id, 1, log("hello")).await?;
    let kept = [AttemptLog { attempt: 1, log: log("hello") }];
    assert_eq!(store.logs(id).await?, kept);
    store.finish_with(&leased, Verdict::Complete, at(1)).await?;
    assert_eq!(store.logs(id).await?, kept);
    store.redrive(id, at(2)).await?;
    assert_eq!(store.logs(id).await?, kept);
    Ok(())
}

async fn a_new_store_is_ready(store: Fixture) -> anyhow::Result<()> {
    assert_eq!(store.ready(), Ok(()));
    Ok(())
}
