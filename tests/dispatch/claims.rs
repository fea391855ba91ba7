//! Claims that overlap: slots that become free while one is under way are offered by the next.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{InFlight, ScriptedRuntime, TestClock, TestHost, tests};
use libtest_mimic::Trial;
use serde_json::json;

use crate::api::interposed::{Interposed, Latch};

pub fn trials() -> Vec<Trial> {
    tests![
        slots_that_become_free_during_a_claim_are_offered_by_another,
        while_few_jobs_wait_claims_do_not_overlap,
    ]
}

/// A host with four slots, whose claims a test can hold.
struct Held {
    host: TestHost,
    runtime: ScriptedRuntime,
    latch: Arc<Latch>,
    is_held: Arc<AtomicBool>,
}

impl Held {
    async fn new() -> anyhow::Result<Self> {
        let (latch, is_held) = (Latch::new(), Arc::new(AtomicBool::new(false)));
        let holds = is_held.clone();
        let store = Interposed::held(&latch, move |call, _| {
            call == "claim" && holds.load(Ordering::SeqCst)
        });
        let (runtime, clock) = (ScriptedRuntime::default(), TestClock::default());
        let host = TestHost::of(store, Arc::new(runtime.clone()), Arc::new(clock), |config| {
            config.workers = NonZeroU32::new(4).unwrap_or(NonZeroU32::MIN);
            config.reserved_workers = Some(0);
        })
        .await?;
        host.push("p", "bytes").await?;
        Ok(Self { host, runtime, latch, is_held })
    }

    /// Lets `count` jobs become due at once.
    async fn submit(&self, count: usize) -> anyhow::Result<()> {
        let post = async |path: &str, body| self.host.post(path, body).await;
        post("/v1/queues/default/pause", json!(null)).await?;
        post("/v1/jobs/batch", json!(vec![json!({ "plugin": "p" }); count])).await?;
        post("/v1/queues/default/resume", json!(null)).await?;
        Ok(())
    }

    async fn begin(&self, count: usize) -> anyhow::Result<Vec<InFlight>> {
        let mut begun = vec![];
        while begun.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(20), self.runtime.next());
            begun.push(next.await.context("no attempt began")??);
        }
        Ok(begun)
    }

    fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::SeqCst);
    }
}

async fn slots_that_become_free_during_a_claim_are_offered_by_another() -> anyhow::Result<()> {
    let held = Held::new().await?;
    held.submit(8).await?;
    let mut running = held.begin(4).await?;
    held.hold(true);
    running.drain(..2).for_each(InFlight::succeed);
    held.latch.reached().await?;
    running.into_iter().for_each(InFlight::succeed);
    held.latch.reached().await.context("while the first is under way")?;
    held.hold(false);
    held.latch.open(2);
    held.begin(4).await?;
    ensure!(held.latch.most() == 2, "{} claims at a time", held.latch.most());
    Ok(())
}

async fn while_few_jobs_wait_claims_do_not_overlap() -> anyhow::Result<()> {
    let held = Held::new().await?;
    let first = held.host.submit(json!({ "plugin": "p" })).await?;
    let running = held.begin(1).await?;
    held.hold(true);
    held.submit(1).await?;
    held.latch.reached().await?;
    // Slots become free, and jobs due, while that claim is under way.
    running.into_iter().for_each(InFlight::succeed);
    held.host.finalized(&first).await?;
    held.submit(1).await?;
    ensure!(held.latch.all() == 1, "{} claims", held.latch.all());
    held.hold(false);
    held.latch.open(1);
    held.begin(2).await?;
    ensure!(held.latch.most() == 1, "{} claims at a time", held.latch.most());
    Ok(())
}
