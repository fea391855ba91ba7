//! The grants of an attempt when they cannot be read, or not soon.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use jobwright::store::memory::MemoryStore;
use jobwright_core::attempt::AttemptRecord;
use jobwright_core::job::{Job, JobState};
use jobwright_core::log::LogBuffer;
use jobwright_core::outcome::OutcomeKind;
use jobwright_core::services::{Capabilities, CapabilityProvider};
use jobwright_core::store::{JobReads as _, StoreError};
use jobwright_tests::{ScriptedRuntime, TestClock, TestHost, tests};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::sync::{Notify, watch};

use super::Fixture;

pub fn trials() -> Vec<Trial> {
    tests![
        an_attempt_whose_grants_cannot_be_read_is_released_and_does_not_start,
        an_attempt_whose_grants_do_not_come_is_released_after_a_timeout,
        an_attempt_that_waits_for_its_grants_is_stopped_by_a_cancel,
    ]
}

/// How the database of grants answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// With no grants.
    Good,
    /// With an error.
    None,
    /// Not at all.
    Hangs,
}

struct SharedGrants {
    reach: watch::Sender<Reach>,
    asked: Notify,
}

#[async_trait]
impl CapabilityProvider for SharedGrants {
    async fn open(&self, _: &Job, log: &Arc<LogBuffer>) -> Result<Capabilities, StoreError> {
        self.asked.notify_one();
        let reach = *self.reach.borrow();
        match reach {
            Reach::Good => Ok(Capabilities::nothing(log)),
            Reach::None => Err(StoreError::Unavailable { reason: "no connection".to_owned() }),
            Reach::Hangs => std::future::pending().await,
        }
    }
}

async fn fixture(reach: Reach) -> anyhow::Result<(Fixture, Arc<SharedGrants>)> {
    let (runtime, clock) = (ScriptedRuntime::default(), TestClock::default());
    let (reach, asked) = (watch::Sender::new(reach), Notify::new());
    let grants = Arc::new(SharedGrants { reach, asked });
    let store = Arc::new(MemoryStore::new(Default::default()));
    let host = TestHost::replacing(Arc::new(runtime.clone()), |parts, _| {
        parts.jobs.store = store.clone();
        parts.jobs.clock = Arc::new(clock.clone());
        parts.jobs.grantor = grants.clone();
        Ok(())
    })
    .await?;
    host.push("p", "any bytes will do").await?;
    Ok((Fixture { host, runtime, clock, store }, grants))
}

async fn an_attempt_whose_grants_cannot_be_read_is_released_and_does_not_start()
-> anyhow::Result<()> {
    let (fixture, grants) = fixture(Reach::None).await?;
    let id = fixture.submit(json!({})).await?;
    let job = fixture.rests(&id).await?;
    assert_eq!(job.lifecycle.state, JobState::Available);
    assert_eq!((job.lifecycle.refused, job.lifecycle.failures), (1, 0), "it is not counted");
    let AttemptRecord { outcome, error, start, .. } = &job.attempts[0];
    assert_eq!((*outcome, *start), (OutcomeKind::Refused, None));
    let error = error.as_ref().map(|error| error.code.as_str());
    assert_eq!(error, Some("grants_unavailable"));
    ensure!(fixture.runtime.begun().await.is_none(), "no guest was started without its grants");

    grants.reach.send_replace(Reach::Good);
    fixture.clock.advance(Duration::from_secs(10));
    fixture.begins().await?.succeed();
    assert_eq!(fixture.host.finalized(&id).await?["state"], "completed");
    Ok(())
}

async fn an_attempt_whose_grants_do_not_come_is_released_after_a_timeout() -> anyhow::Result<()> {
    let (fixture, grants) = fixture(Reach::Hangs).await?;
    let id = fixture.submit(json!({})).await?;
    grants.asked.notified().await;
    fixture.clock.advance(Duration::from_secs(9));
    let job = fixture.store.get(id.parse()?).await?.context("the job is known")?;
    assert_eq!(job.lifecycle.state, JobState::Running);
    fixture.clock.advance(Duration::from_secs(1));
    let job = fixture.rests(&id).await?;
    assert_eq!((job.lifecycle.refused, job.lifecycle.failures), (1, 0), "it is not counted");
    let error = job.attempts[0].error.as_ref().map(|error| error.code.as_str());
    assert_eq!(error, Some("grants_unavailable"));
    Ok(())
}

async fn an_attempt_that_waits_for_its_grants_is_stopped_by_a_cancel() -> anyhow::Result<()> {
    let (fixture, grants) = fixture(Reach::Hangs).await?;
    let id = fixture.submit(json!({})).await?;
    grants.asked.notified().await;
    let cancel = fixture.host.post(&format!("/v1/jobs/{id}/cancel"), json!(null)).await?;
    assert_eq!(cancel.status(), 202);
    assert_eq!(fixture.host.finalized(&id).await?["state"], "cancelled");
    // Its slot is free.
    grants.reach.send_replace(Reach::Good);
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.succeed();
    assert_eq!(fixture.host.finalized(&id).await?["state"], "completed");
    Ok(())
}
