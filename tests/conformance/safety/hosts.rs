//! Stores that hosts share: what one host does is true for another, with a handle each.
//!
//! A driver has these laws if it [opens another handle](crate::conformance::fixture::Driver) on a store. The embedded
//! store has one host, so today it is the store in memory; a driver of a database opens a second connection.

use anyhow::{Context as _, ensure};
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::change::{Event, JobEvent, Transition};
use jobwright_core::clock::after;
use jobwright_core::job::{CancelRequest, JobState, Verdict};
use jobwright_core::store::{Enqueued, Finished, Renewal};

use crate::conformance::drafts::{Draft as _, at, job, jobs, paused};
use crate::conformance::fixture::{Fixture, LEASE};
use crate::conformance::laws;

laws![
    two_hosts_never_claim_the_same_job,
    an_attempt_that_another_host_reclaimed_cannot_finish,
    a_cancel_request_reaches_an_attempt_of_another_host,
    a_hold_covers_the_claims_of_another_host,
    two_hosts_never_exceed_the_bound_of_a_queue,
    a_change_is_published_to_subscribers_of_another_host,
    a_hold_is_published_to_subscribers_of_another_host,
];

async fn two_hosts_never_claim_the_same_job(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(200), at(0)).await?;
    let hosts = [store.second()?, store].map(|host| {
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let leased = host.claim_up_to(3, at(0)).await?;
                if leased.is_empty() {
                    return anyhow::Ok(claimed);
                }
                claimed.extend(leased.into_iter().map(|leased| leased.job.id));
            }
        })
    });
    let mut claimed = Vec::new();
    for host in hosts {
        claimed.extend(host.await??);
    }
    claimed.sort_unstable();
    claimed.dedup();
    assert_eq!(claimed.len(), 200, "each job once");
    Ok(())
}

async fn an_attempt_that_another_host_reclaimed_cannot_finish(
    store: Fixture,
) -> anyhow::Result<()> {
    let (id, other) = (store.accept(job(), at(0)).await?, store.second()?);
    let stalled = store.claim_one(at(0)).await?;
    assert_eq!(other.reclaim_expired(at(30), 9).await?, [id]);
    let again = other.claim_one(at(30)).await?;
    assert!(again.lease.attempt > stalled.lease.attempt);
    let late = store.finish_with(&stalled, Verdict::Complete, at(31)).await?;
    assert_eq!(late, Finished::LeaseLost);
    let answer = other.finish_with(&again, Verdict::Complete, at(32)).await?;
    assert_eq!(answer, Finished::Recorded(JobState::Completed));
    Ok(())
}

async fn a_cancel_request_reaches_an_attempt_of_another_host(store: Fixture) -> anyhow::Result<()> {
    let (id, other) = (store.accept(job(), at(0)).await?, store.second()?);
    let leased = store.claim_one(at(0)).await?;
    let answer = other.request_cancel(id, at(1)).await?;
    assert_eq!(answer, Some(CancelRequest::Stopping { attempt: leased.lease.attempt }));
    let renewed = store.renew(vec![leased.lease], after(at(2), LEASE), at(2)).await?;
    assert_eq!(renewed, [Renewal::CancelRequested]);
    Ok(())
}

async fn a_hold_covers_the_claims_of_another_host(store: Fixture) -> anyhow::Result<()> {
    let (id, other) = (store.accept(job().queue("off"), at(0)).await?, store.second()?);
    store.set_held(paused("off"), Some(Default::default())).await?;
    assert_eq!(other.claim_all(at(1)).await?, []);
    other.set_held(paused("off"), None).await?;
    assert_eq!(store.claim_all(at(2)).await?, [id]);
    Ok(())
}

async fn two_hosts_never_exceed_the_bound_of_a_queue(store: Fixture) -> anyhow::Result<()> {
    let store = store.bounded(CapacityLimits { per_queue: 50, ..Default::default() })?;
    let hosts = [store.second()?, store].map(|host| {
        tokio::spawn(async move {
            let mut accepted = 0;
            for _ in 0..40 {
                let answer = host.offer(job(), at(0)).await?;
                accepted += usize::from(answer == Enqueued::Inserted);
            }
            anyhow::Ok(accepted)
        })
    });
    let mut accepted = 0;
    for host in hosts {
        accepted += host.await??;
    }
    assert_eq!(accepted, 50);
    Ok(())
}

async fn a_change_is_published_to_subscribers_of_another_host(
    store: Fixture,
) -> anyhow::Result<()> {
    let other = store.second()?;
    let mut changes = other.changes().subscribe();
    let id = store.accept(job(), at(0)).await?;
    let change = changes.recv().await.context("the stream is open")?;
    let Event::Job(JobEvent { job, transition, .. }) = &change.event else {
        anyhow::bail!("not a job's: {change:?}");
    };
    ensure!(*job == id && matches!(transition, Transition::Enqueued), "{change:?}");
    Ok(())
}

async fn a_hold_is_published_to_subscribers_of_another_host(store: Fixture) -> anyhow::Result<()> {
    let other = store.second()?;
    let mut changes = other.changes().subscribe();
    for held in [true, false] {
        store.set_held(paused("off"), held.then(Default::default)).await?;
        let change = changes.recv().await.context("the stream is open")?;
        let Event::Hold(published) = &change.event else {
            anyhow::bail!("not a hold's: {change:?}");
        };
        assert_eq!((&published.hold, published.held), (&paused("off"), held));
        assert_eq!(published.version, other.versioned_holds().await?.version);
    }
    Ok(())
}
