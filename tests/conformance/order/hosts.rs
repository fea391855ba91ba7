//! The order of claims of two hosts on one store: each host is idle, and tries suspects, for itself.

use jobwright_core::job::JobId;
use jobwright_core::store::Claim;

use super::suspects::lost_twice;
use crate::conformance::drafts::{Draft as _, at, job};
use crate::conformance::fixture::{Fixture, HOSTS, want};
use crate::conformance::laws;

laws![
    a_job_that_runs_alone_on_one_host_keeps_no_other_host_from_claiming,
    a_job_that_must_run_alone_begins_on_an_idle_host_and_on_no_busy_one,
    a_host_is_idle_whatever_runs_on_another,
    each_host_tries_one_suspect_at_a_time,
];

/// The jobs that a host claims, at most nine.
async fn claims(store: &Fixture, host: usize, now: i64) -> anyhow::Result<Vec<JobId>> {
    let leased = store.claim_as(HOSTS[host], 9, at(now)).await?;
    Ok(leased.iter().map(|leased| leased.job.id).collect())
}

async fn a_job_that_runs_alone_on_one_host_keeps_no_other_host_from_claiming(
    store: Fixture,
) -> anyhow::Result<()> {
    let suspect = lost_twice(&store).await?;
    assert_eq!(claims(&store, 0, 30).await?, [suspect]);
    let other = store.accept(job(), at(30)).await?;
    assert_eq!(claims(&store, 0, 30).await?, []);
    assert_eq!(claims(&store, 1, 30).await?, [other]);
    Ok(())
}

async fn a_job_that_must_run_alone_begins_on_an_idle_host_and_on_no_busy_one(
    store: Fixture,
) -> anyhow::Result<()> {
    let suspect = lost_twice(&store).await?;
    store.accept(job().priority(1), at(0)).await?;
    let running = store.claim_one_as(HOSTS[0], at(30)).await?;
    assert_ne!(running.job.id, suspect);
    assert_eq!(claims(&store, 0, 30).await?, []);
    assert_eq!(claims(&store, 1, 30).await?, [suspect]);
    Ok(())
}

async fn a_host_is_idle_whatever_runs_on_another(store: Fixture) -> anyhow::Result<()> {
    store.accept(job(), at(0)).await?;
    store.claim_one_as(HOSTS[0], at(0)).await?;
    let large = store.accept(job(), at(0)).await?;
    let want = Claim { memory_bytes: 1, ..want(9, at(0)) };
    assert_eq!(store.claim(want, at(0)).await?.leased, [], "it does not fit beside the other");
    let leased = store.claim(Claim { host: HOSTS[1], ..want }, at(0)).await?.leased;
    assert_eq!(leased.len(), 1, "every job fits on an idle host");
    assert_eq!(leased[0].job.id, large);
    Ok(())
}

async fn each_host_tries_one_suspect_at_a_time(store: Fixture) -> anyhow::Result<()> {
    let mut suspects = vec![];
    for _ in 0..3 {
        suspects.push(store.accept(job(), at(0)).await?);
    }
    store.claim_up_to(3, at(0)).await?;
    store.reclaim_expired(at(30), 9).await?;
    assert_eq!(claims(&store, 0, 30).await?, suspects[..1]);
    assert_eq!(claims(&store, 1, 30).await?, suspects[1..2]);
    for host in [0, 1] {
        assert_eq!(claims(&store, host, 39).await?, [], "it watches its own");
    }
    assert_eq!(claims(&store, 1, 40).await?, suspects[2..]);
    Ok(())
}
