//! Idempotency keys: a repeated request gets the response of the first.

use std::sync::Arc;

use anyhow::Context as _;
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::job::{NewJob, Verdict};
use jobwright_core::store::{Enqueued, Retention};

use crate::conformance::drafts::{Draft as _, at, job, of};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    duplicate_key_answers_the_first,
    a_duplicate_adds_no_job,
    the_same_key_for_another_request_is_refused,
    different_keys_are_different_requests,
    equal_keys_of_two_tenants_are_different,
    a_key_used_twice_within_one_batch_is_a_duplicate,
    of_many_requests_at_once_with_one_key_one_is_inserted,
    an_expired_key_may_be_used_again,
    an_expired_key_may_be_used_again_after_prune,
    a_live_key_survives_prune,
    a_key_outlives_its_pruned_job,
    a_key_that_a_full_queue_refused_is_not_used,
    a_duplicate_is_answered_even_when_the_queue_is_full,
    a_duplicate_takes_no_room_from_the_rest_of_its_batch,
    the_answer_to_a_key_can_be_looked_up,
];

/// The answer to a repetition of the request that created `first`.
fn duplicate_of(first: &NewJob) -> Enqueued {
    Enqueued::Duplicate(Box::new(first.accepted(at(0))))
}

async fn duplicate_key_answers_the_first(store: Fixture) -> anyhow::Result<()> {
    let first = job().key("k", "body");
    store.accept(first.clone(), at(0)).await?;
    for now in [0, 1, 24 * 3600 - 1] {
        let again = store.offer(job().key("k", "body"), at(now)).await?;
        assert_eq!(again, duplicate_of(&first), "after {now} s");
    }
    Ok(())
}

async fn a_duplicate_adds_no_job(store: Fixture) -> anyhow::Result<()> {
    let first = store.accept(job().key("k", "body"), at(0)).await?;
    let repeated = job().key("k", "body");
    let id = repeated.id;
    store.offer(repeated, at(0)).await?;
    assert_eq!(store.get(id).await?, None);
    assert_eq!(store.queue("default", at(0)).await?.depth, 1);
    assert_eq!(store.claim_all(at(0)).await?, [first]);
    Ok(())
}

async fn the_same_key_for_another_request_is_refused(store: Fixture) -> anyhow::Result<()> {
    store.accept(job().key("k", "body"), at(0)).await?;
    assert_eq!(store.offer(job().key("k", "other"), at(1)).await?, Enqueued::KeyReused);
    assert_eq!(store.queue("default", at(1)).await?.depth, 1);
    Ok(())
}

async fn different_keys_are_different_requests(store: Fixture) -> anyhow::Result<()> {
    for key in ["k", "K", "k ", "", "ä"] {
        store.accept(job().key(key, "body"), at(0)).await?;
    }
    assert_eq!(store.queue("default", at(0)).await?.depth, 5);
    Ok(())
}

async fn equal_keys_of_two_tenants_are_different(store: Fixture) -> anyhow::Result<()> {
    let [ours, theirs] = [of("a"), of("b")].map(|job| job.key("k", "body"));
    for first in [&ours, &theirs] {
        store.accept(first.clone(), at(0)).await?;
    }
    for (tenant, first) in [("a", ours), ("b", theirs)] {
        let again = store.offer(of(tenant).key("k", "body"), at(1)).await?;
        assert_eq!(again, duplicate_of(&first), "{tenant}");
    }
    Ok(())
}

async fn a_key_used_twice_within_one_batch_is_a_duplicate(store: Fixture) -> anyhow::Result<()> {
    let first = job().key("k", "body");
    let batch = vec![
        first.clone(),
        job().key("k", "body"),
        job().key("k", "other"),
        job().key("l", "body"),
    ];
    let answers = store.enqueue(batch, at(0)).await?;
    let expected =
        [Enqueued::Inserted, duplicate_of(&first), Enqueued::KeyReused, Enqueued::Inserted];
    assert_eq!(answers, expected);
    Ok(())
}

async fn of_many_requests_at_once_with_one_key_one_is_inserted(
    store: Fixture,
) -> anyhow::Result<()> {
    let requests = (0..32).map(|_| {
        let store = store.handle();
        tokio::spawn(async move { store.enqueue(vec![job().key("k", "body")], at(0)).await })
    });
    let mut inserted = 0;
    for request in requests.collect::<Vec<_>>() {
        match request.await??.as_slice() {
            [Enqueued::Inserted] => inserted += 1,
            [Enqueued::Duplicate(_)] => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    assert_eq!(inserted, 1);
    Ok(())
}

async fn an_expired_key_may_be_used_again(store: Fixture) -> anyhow::Result<()> {
    store.accept(job().key("k", "body"), at(0)).await?;
    let mut second = job().key("k", "other");
    if let Some(key) = &mut second.dedup {
        key.until = at(48 * 3600);
    }
    store.accept(second.clone(), at(24 * 3600)).await?;
    let again = store.offer(job().key("k", "other"), at(25 * 3600)).await?;
    assert_eq!(again, Enqueued::Duplicate(Box::new(second.accepted(at(24 * 3600)))));
    Ok(())
}

/// Past the end of every key, before the end of every job.
fn keys_only(now: i64) -> Retention {
    Retention { completed_before: at(-1), discarded_before: at(-1), now: at(now) }
}

async fn an_expired_key_may_be_used_again_after_prune(store: Fixture) -> anyhow::Result<()> {
    store.accept(job().key("k", "body"), at(0)).await?;
    assert_eq!(store.prune(keys_only(24 * 3600), 9).await?, 0);
    store.accept(job().key("k", "other"), at(24 * 3600)).await?;
    Ok(())
}

async fn a_live_key_survives_prune(store: Fixture) -> anyhow::Result<()> {
    let first = job().key("k", "body");
    store.accept(first.clone(), at(0)).await?;
    store.prune(keys_only(24 * 3600 - 1), 9).await?;
    let again = store.offer(job().key("k", "body"), at(24 * 3600 - 1)).await?;
    assert_eq!(again, duplicate_of(&first));
    Ok(())
}

async fn a_key_outlives_its_pruned_job(store: Fixture) -> anyhow::Result<()> {
    let mut first = job().key("k", "body");
    Arc::make_mut(&mut first.spec).tags = vec!["blue".to_owned()];
    store.accept(first.clone(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    store.finish_with(&leased, Verdict::Complete, at(1)).await?;
    let all = Retention { completed_before: at(9), discarded_before: at(9), now: at(9) };
    assert_eq!(store.prune(all, 9).await?, 1);
    assert_eq!(store.get(first.id).await?, None);
    assert_eq!(store.offer(job().key("k", "body"), at(9)).await?, duplicate_of(&first));
    Ok(())
}

async fn a_key_that_a_full_queue_refused_is_not_used(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { total: 1, ..Default::default() })?;
    let first = store.accept(job(), at(0)).await?;
    let refused = store.offer(job().key("k", "body"), at(0)).await?;
    assert!(matches!(refused, Enqueued::QueueFull(_)), "{refused:?}");
    store.request_cancel(first, at(1)).await?;
    store.accept(job().key("k", "body"), at(2)).await?;
    Ok(())
}

async fn a_duplicate_is_answered_even_when_the_queue_is_full(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { total: 1, ..Default::default() })?;
    let first = job().key("k", "body");
    store.accept(first.clone(), at(0)).await?;
    let again = store.offer(job().key("k", "body"), at(0)).await?;
    assert_eq!(again, duplicate_of(&first));
    assert_eq!(store.offer(job().key("k", "other"), at(0)).await?, Enqueued::KeyReused);
    Ok(())
}

async fn a_duplicate_takes_no_room_from_the_rest_of_its_batch(
    store: Fixture,
) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { total: 2, ..Default::default() })?;
    let first = job().key("k", "body");
    store.accept(first.clone(), at(0)).await?;
    let batch = vec![job().key("k", "body"), job().key("k", "other"), job()];
    let answers = store.enqueue(batch, at(0)).await?;
    assert_eq!(answers, [duplicate_of(&first), Enqueued::KeyReused, Enqueued::Inserted]);
    Ok(())
}

async fn the_answer_to_a_key_can_be_looked_up(store: Fixture) -> anyhow::Result<()> {
    let [first, other] = [job().key("k", "body"), job().key("k", "other")];
    let ask = async |asked: &NewJob, second| {
        let key = asked.dedup.as_ref().context("it has a key")?;
        anyhow::Ok(store.repeated(&asked.spec.tenant, key, at(second)).await?)
    };
    assert_eq!(ask(&first, 0).await?, None);
    store.accept(first.clone(), at(0)).await?;
    assert_eq!(ask(&first, 1).await?, Some(duplicate_of(&first)));
    assert_eq!(ask(&other, 1).await?, Some(Enqueued::KeyReused));
    assert_eq!(ask(&first, 24 * 3600).await?, None, "expired");
    Ok(())
}
