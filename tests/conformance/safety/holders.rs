//! Leases of two hosts on one store, through one handle: each names its host, and what one host does or
//! suffers concerns its own attempts.

use jobwright_core::attempt::Lease;
use jobwright_core::job::{JobState, Verdict};
use jobwright_core::store::{Finished, Renewal};

use crate::conformance::drafts::{Draft as _, at, job, jobs, progress_update};
use crate::conformance::fixture::{Fixture, HOSTS};
use crate::conformance::laws;

laws![
    a_lease_and_its_running_job_name_the_host,
    a_finish_under_a_lease_of_another_host_is_lost,
    a_renewal_of_a_lease_of_another_host_is_lost,
    progress_under_a_lease_of_another_host_is_not_saved,
    a_reclaim_of_the_attempts_of_one_host_leaves_those_of_another,
    a_loss_is_judged_by_the_signs_of_life_of_its_host,
    a_second_loss_counts_if_its_own_host_finished_nothing_else,
];

/// A lease as if the other host had it.
fn of_other(lease: Lease) -> Lease {
    let [one, other] = HOSTS;
    Lease { host: if lease.host == one { other } else { one }, ..lease }
}

async fn a_lease_and_its_running_job_name_the_host(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for (host, verdict) in HOSTS.into_iter().zip([Verdict::Retry { at: at(2) }, Verdict::Complete])
    {
        let leased = store.claim_one_as(host, at(2)).await?;
        assert_eq!((leased.lease.host, leased.job.lifecycle.host), (host, Some(host)));
        assert_eq!(store.job(id).await?, leased.job);
        store.finish_with(&leased, verdict, at(2)).await?;
        assert_eq!(store.job(id).await?.lifecycle.host, None, "{verdict:?}");
    }
    let lost = store.accept(job(), at(3)).await?;
    store.claim_one_as(HOSTS[1], at(3)).await?;
    assert_eq!(store.reclaim_expired(at(33), 9).await?, [lost]);
    assert_eq!(store.job(lost).await?.lifecycle.host, None);
    Ok(())
}

async fn a_finish_under_a_lease_of_another_host_is_lost(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    let mut others = leased.clone();
    others.lease = of_other(leased.lease);
    let answer = store.finish_with(&others, Verdict::Complete, at(1)).await?;
    assert_eq!(answer, Finished::LeaseLost);
    assert_eq!(store.state(id).await?, JobState::Running);
    let answer = store.finish_with(&leased, Verdict::Complete, at(2)).await?;
    assert_eq!(answer, Finished::Recorded(JobState::Completed));
    Ok(())
}

async fn a_renewal_of_a_lease_of_another_host_is_lost(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let lease = store.claim_one(at(0)).await?.lease;
    let answers = store.renew(vec![of_other(lease)], at(60), at(1)).await?;
    assert_eq!(answers, [Renewal::LeaseLost]);
    assert_eq!(store.reclaim_expired(lease.expires_at, 9).await?, [id], "it was not extended");
    Ok(())
}

async fn progress_under_a_lease_of_another_host_is_not_saved(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    store.save_progress(of_other(leased.lease), progress_update(1)).await?;
    assert_eq!(store.job(id).await?.progress, None);
    store.save_progress(leased.lease, progress_update(1)).await?;
    assert!(store.job(id).await?.progress.is_some());
    Ok(())
}

async fn a_reclaim_of_the_attempts_of_one_host_leaves_those_of_another(
    store: Fixture,
) -> anyhow::Result<()> {
    let [dead, lives] = HOSTS;
    store.enqueue(jobs(2), at(0)).await?;
    let lost = store.claim_one_as(dead, at(0)).await?;
    let kept = store.claim_one_as(lives, at(0)).await?;
    assert_eq!(store.renew(vec![kept.lease], at(60), at(10)).await?, [Renewal::Extended]);
    assert_eq!(store.reclaim_expired(at(30), 9).await?, [lost.job.id]);
    assert_eq!(store.state(kept.job.id).await?, JobState::Running);
    let again = store.claim_one_as(lives, at(30)).await?;
    assert_eq!((again.job.id, again.lease.host), (lost.job.id, lives));
    assert_eq!(store.finish_with(&lost, Verdict::Complete, at(31)).await?, Finished::LeaseLost);
    for leased in [kept, again] {
        let answer = store.finish_with(&leased, Verdict::Complete, at(31)).await?;
        assert_eq!(answer, Finished::Recorded(JobState::Completed));
    }
    Ok(())
}

async fn a_loss_is_judged_by_the_signs_of_life_of_its_host(store: Fixture) -> anyhow::Result<()> {
    let [at_once, later] = HOSTS;
    store.enqueue(jobs(2), at(0)).await?;
    let first = store.claim_one_as(at_once, at(0)).await?.job.id;
    let second = store.claim_one_as(later, at(0)).await?.job.id;
    store.alive(at_once, at(9)).await?;
    store.alive(later, at(10)).await?;
    assert_eq!(store.reclaim_expired(at(30), 9).await?.len(), 2);
    assert_eq!(store.job(first).await?.lifecycle.lost, 1, "its host died within ten seconds");
    assert_eq!(store.job(second).await?.lifecycle.lost, 0);
    Ok(())
}

async fn a_second_loss_counts_if_its_own_host_finished_nothing_else(
    store: Fixture,
) -> anyhow::Result<()> {
    let [host, other] = HOSTS;
    let id = store.accept(job(), at(0)).await?;
    for (begun, finishes, lost) in [(0, other, 0), (100, other, 1), (200, host, 1)] {
        let leased = store.claim_one_as(host, at(begun)).await?;
        assert_eq!(leased.job.id, id);
        store.accept(job().queue("other"), at(begun)).await?;
        let beside = store.claim_one_as(finishes, at(begun)).await?;
        store.finish_with(&beside, Verdict::Complete, at(begun)).await?;
        store.alive(host, at(begun + 25)).await?;
        assert_eq!(store.reclaim_expired(at(begun + 30), 9).await?, [id]);
        assert_eq!(store.job(id).await?.lifecycle.lost, lost, "begun at {begun} s");
    }
    Ok(())
}
