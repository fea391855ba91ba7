//! A process that is killed: acknowledged changes are there for the next process.

use anyhow::Context as _;
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::change::ResumeToken;
use jobwright_core::job::{JobId, JobState, Verdict};
use jobwright_core::log::LogSnapshot;
use jobwright_core::store::{ChangedSince, Enqueued, JobFilter};

use super::reopening::waits_for_the_wall_clock;
use crate::conformance::drafts::{Draft as _, at, job, jobs, paused};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    each_answer_survives_a_crash_right_after_it,
    a_log_survives_a_crash,
    a_batch_survives_a_crash,
    many_concurrent_enqueues_are_all_answered_and_none_is_lost,
    a_crash_within_a_crash_counts_each_loss,
    a_subscriber_resumes_after_a_crash_where_it_was,
];

fn crash(store: &Fixture) -> anyhow::Result<Fixture> {
    store.crash(CapacityLimits::default(), at(9))
}

async fn each_answer_survives_a_crash_right_after_it(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job().key("k", "body"), at(0)).await?;
    let next = crash(&store)?;
    assert_eq!(next.job(id).await?, store.job(id).await?);
    assert!(matches!(next.offer(job().key("k", "body"), at(1)).await?, Enqueued::Duplicate { .. }));

    let leased = store.claim_one(at(1)).await?;
    assert_eq!(crash(&store)?.job(id).await?.lifecycle.lost, 1);
    store.finish_with(&leased, Verdict::Retry { at: at(50) }, at(2)).await?;
    let mut retried = store.job(id).await?;
    waits_for_the_wall_clock(&mut retried);
    assert_eq!(crash(&store)?.job(id).await?, retried);
    store.redrive(id, at(3)).await?;
    assert_eq!(crash(&store)?.job(id).await?, store.job(id).await?);

    let leased = store.claim_one(at(3)).await?;
    store.request_cancel(id, at(4)).await?;
    assert_eq!(crash(&store)?.state(id).await?, JobState::Cancelled);
    store.finish_with(&leased, Verdict::Complete, at(5)).await?;
    let next = crash(&store)?;
    assert_eq!(next.job(id).await?, store.job(id).await?);
    assert_eq!(next.output(id).await?, store.output(id).await?);

    store.set_held(paused("default"), Some(Default::default())).await?;
    assert!(crash(&store)?.queue("default", at(9)).await?.paused);
    Ok(())
}

async fn a_log_survives_a_crash(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let log = LogSnapshot { bytes: b"hello".to_vec(), kept_bytes: 5, dropped_bytes: 0 };
    store.save_log(id, 1, log).await?;
    assert_eq!(crash(&store)?.logs(id).await?, store.logs(id).await?);
    Ok(())
}

async fn a_batch_survives_a_crash(store: Fixture) -> anyhow::Result<()> {
    let batch: Vec<_> = (0..1000).map(|n| job().payload(vec![0; n])).collect();
    let ids: Vec<JobId> = batch.iter().map(|job| job.id).collect();
    let answers = store.enqueue(batch, at(0)).await?;
    assert!(answers.iter().all(|answer| *answer == Enqueued::Inserted));
    let leased = crash(&store)?.claim_up_to(1000, at(9)).await?;
    assert!(leased.iter().map(|leased| leased.job.id).eq(ids));
    assert!(leased.iter().enumerate().all(|(n, leased)| leased.payload.bytes.len() == n));
    Ok(())
}

async fn many_concurrent_enqueues_are_all_answered_and_none_is_lost(
    store: Fixture,
) -> anyhow::Result<()> {
    let requests = (0..2000).map(|_| {
        let store = store.handle();
        tokio::spawn(async move {
            let batch = jobs(1);
            let id = batch[0].id;
            let answers = store.enqueue(batch, at(0)).await?;
            assert_eq!(answers, [Enqueued::Inserted]);
            anyhow::Ok(id)
        })
    });
    let mut acknowledged = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        acknowledged.push(request.await??);
    }
    acknowledged.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    let found = crash(&store)?.walk(JobFilter::default(), 500, at(9)).await?;
    assert!(found.iter().map(|job| job.id).eq(acknowledged));
    Ok(())
}

async fn a_crash_within_a_crash_counts_each_loss(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    let second = crash(&store)?;
    second.claim_one(at(9)).await?;
    assert_eq!(crash(&second)?.job(id).await?.lifecycle.lost, 2);
    let untouched = crash(&crash(&store)?)?;
    assert_eq!(untouched.job(id).await?.lifecycle.lost, 1, "nothing ran in between");
    Ok(())
}

async fn a_subscriber_resumes_after_a_crash_where_it_was(store: Fixture) -> anyhow::Result<()> {
    let mut changes = store.changes().subscribe();
    store.accept(job(), at(0)).await?;
    let seen = ResumeToken::from(changes.recv().await.context("it is published")?.position);
    let missed = store.accept(job(), at(1)).await?;
    let next = crash(&store)?;
    let later = next.accept(job(), at(10)).await?;
    // As clients store the token.
    let seen = seen.to_string().parse()?;
    let ChangedSince::Jobs(found) = next.changed_since(&seen, 10).await? else {
        anyhow::bail!("nothing was pruned");
    };
    let ids: Vec<_> = found.into_iter().map(|(_, job)| job.id).collect();
    assert_eq!(ids, [missed, later]);
    Ok(())
}
