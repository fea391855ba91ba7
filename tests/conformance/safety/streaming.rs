//! The stream of committed changes: what subscribers receive, and how one that was cut off catches up.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use jobwright_core::Verdict;
use jobwright_core::change::{Event, JobEvent, Position, RING, ResumeToken, Transition};
use jobwright_core::job::{Job, JobId, JobState};
use jobwright_core::store::{ChangedSince, Retention};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::conformance::drafts::{at, job, jobs};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    each_transition_of_a_job_is_published_in_order,
    a_subscriber_that_was_cut_off_misses_no_jobs_latest_state,
    a_position_from_before_a_pruned_change_is_reset,
];

/// A job's transition as a word.
fn word(transition: &Transition) -> &'static str {
    match transition {
        Transition::Enqueued => "enqueued",
        Transition::Started => "started",
        Transition::Waiting => "waiting",
        Transition::CancelRequested => "cancel requested",
        Transition::Finalized { .. } => "finalized",
    }
}

async fn each_transition_of_a_job_is_published_in_order(store: Fixture) -> anyhow::Result<()> {
    let mut changes = store.changes().subscribe();
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;
    store.finish_with(&leased, Verdict::Retry { at: at(1) }, at(0)).await?;
    let leased = store.claim_one(at(1)).await?;
    store.request_cancel(id, at(1)).await?;
    store.finish_with(&leased, Verdict::Cancel, at(2)).await?;
    store.redrive(id, at(3)).await?;

    let (mut words, mut latest) = (vec![], Position::default());
    loop {
        let change = match changes.try_recv() {
            Ok(change) => change,
            Err(TryRecvError::Empty) => break,
            Err(error) => return Err(error.into()),
        };
        ensure!(change.position > latest, "positions grow: {change:?}");
        latest = change.position;
        let Event::Job(JobEvent { job, transition, .. }) = &change.event else { continue };
        ensure!(*job == id, "another job: {change:?}");
        words.push(word(transition));
    }
    let expected =
        ["enqueued", "started", "waiting", "started", "cancel requested", "finalized", "waiting"];
    assert_eq!(words, expected);
    Ok(())
}

/// All changes after those in `seen`, read in pages.
async fn catch_up(
    store: &Fixture,
    mut seen: ResumeToken,
) -> anyhow::Result<(BTreeMap<JobId, Job>, ResumeToken)> {
    let mut latest = BTreeMap::new();
    loop {
        // As clients store the token.
        seen = seen.to_string().parse()?;
        let ChangedSince::Jobs(page) = store.changed_since(&seen, 500).await? else {
            anyhow::bail!("nothing was pruned");
        };
        let Some((last, _)) = page.last() else { return Ok((latest, seen)) };
        seen.saw(*last);
        latest.extend(page.into_iter().map(|(_, job)| (job.id, job)));
    }
}

async fn a_subscriber_that_was_cut_off_misses_no_jobs_latest_state(
    store: Fixture,
) -> anyhow::Result<()> {
    let mut changes = store.changes().subscribe();
    let before = store.accept(job(), at(0)).await?;
    let seen = ResumeToken::from(changes.recv().await?.position);
    // More changes than the ring holds, while the subscriber reads nothing.
    let mut ids = vec![before];
    while ids.len() * 3 <= RING + 3 {
        let batch = jobs(1000);
        ids.extend(batch.iter().map(|job| job.id));
        store.enqueue(batch, at(0)).await?;
        for leased in store.claim_up_to(1000, at(0)).await? {
            store.finish_with(&leased, Verdict::Complete, at(1)).await?;
        }
    }
    let Err(RecvError::Lagged(missed)) = changes.recv().await else {
        anyhow::bail!("the ring has room for more than {RING} changes");
    };
    ensure!(missed > 0, "the number of missed changes is reported");

    let (latest, seen) = catch_up(&store, seen).await?;
    for id in &ids {
        let found = latest.get(id).with_context(|| format!("{id} is missed"))?;
        assert_eq!(found, &store.job(*id).await?, "the latest state");
    }
    let (again, _) = catch_up(&store, seen).await?;
    ensure!(again.is_empty(), "the subscriber has caught up");
    Ok(())
}

async fn a_position_from_before_a_pruned_change_is_reset(store: Fixture) -> anyhow::Result<()> {
    let mut changes = store.changes().subscribe();
    let id = store.finished(Verdict::Complete, at(0)).await?;
    let accepted = ResumeToken::from(changes.recv().await?.position);
    ensure!(matches!(store.changed_since(&accepted, 10).await?, ChangedSince::Jobs(found)
        if found.len() == 1 && found[0].1.lifecycle.state == JobState::Completed));
    let (completed_before, discarded_before) = (at(10), at(10));
    let retention = Retention { completed_before, discarded_before, now: at(10) };
    assert_eq!(store.prune(retention, 10).await?, 1);
    assert_eq!(store.get(id).await?, None);
    let ChangedSince::Reset(resumed) = store.changed_since(&accepted, 10).await? else {
        anyhow::bail!("a change is pruned that the subscriber did not see");
    };
    assert_eq!(store.changed_since(&resumed, 10).await?, ChangedSince::Jobs(vec![]));
    let present = store.accept(job(), at(11)).await?;
    let mut latest = accepted.clone();
    while let Ok(change) = changes.try_recv() {
        latest.saw(change.position);
    }
    assert_eq!(store.changed_since(&latest, 10).await?, ChangedSince::Jobs(vec![]));
    assert_eq!(store.state(present).await?, JobState::Available);
    ensure!(matches!(store.changed_since(&resumed, 10).await?, ChangedSince::Jobs(found)
        if found.len() == 1 && found[0].1.id == present));
    Ok(())
}
