//! From claim to verdict, with attempts that the test ends, and a clock that the test moves.

mod claims;
mod clocks;
mod grants;
mod retries;
mod shutdown;
mod slots;

use std::sync::Arc;

use anyhow::Context as _;
use jobwright::store::memory::MemoryStore;
use jobwright_core::JobReads as _;
use jobwright_core::capacity::CapacityLimits;
use jobwright_tests::{InFlight, ScriptedRuntime, TestClock, TestHost};
use libtest_mimic::Trial;

/// Every test of this module.
pub fn trials() -> Vec<Trial> {
    let topics = [
        claims::trials(),
        clocks::trials(),
        grants::trials(),
        retries::trials(),
        shutdown::trials(),
        slots::trials(),
    ];
    topics.into_iter().flatten().collect()
}

/// A host whose time and attempts the test controls.
struct Fixture {
    host: TestHost,
    runtime: ScriptedRuntime,
    clock: TestClock,
    store: Arc<MemoryStore>,
}

impl Fixture {
    async fn new(change: impl FnOnce(&mut jobwright::Config)) -> anyhow::Result<Self> {
        Self::of(CapacityLimits::default(), change).await
    }

    /// A host whose store has these bounds.
    async fn of(
        limits: CapacityLimits,
        change: impl FnOnce(&mut jobwright::Config),
    ) -> anyhow::Result<Self> {
        let (runtime, clock) = (ScriptedRuntime::default(), TestClock::default());
        let store = Arc::new(MemoryStore::new(limits));
        let parts = (store.clone(), Arc::new(runtime.clone()), Arc::new(clock.clone()));
        let host = TestHost::of(parts.0, parts.1, parts.2, change).await?;
        host.push("p", "any bytes will do").await?;
        Ok(Self { host, runtime, clock, store })
    }

    /// Submits a job of the plugin.
    async fn submit(&self, mut job: serde_json::Value) -> anyhow::Result<String> {
        job["plugin"] = "p".into();
        self.host.submit(job).await
    }

    async fn begins(&self) -> anyhow::Result<InFlight> {
        let next = self.runtime.next();
        tokio::time::timeout(std::time::Duration::from_secs(20), next)
            .await
            .context("no attempt began")?
    }

    /// Waits until a job is no longer running; returns it.
    async fn rests(&self, id: &str) -> anyhow::Result<jobwright_core::Job> {
        let id = id.parse()?;
        loop {
            let job = self.store.get(id).await?.context("the job is known")?;
            if job.lifecycle.state != jobwright_core::JobState::Running {
                return Ok(job);
            }
            tokio::task::yield_now().await;
        }
    }
}
