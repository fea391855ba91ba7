//! Trial loads of uploaded code, each in a process of its own: how tenants share the permits.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{guests, tests};
use libtest_mimic::Trial;
use reqwest::StatusCode;
use tokio::time::{Instant, timeout};

use super::runners::{Isolated, Runner};

pub(super) fn trials() -> Vec<Trial> {
    tests![trial_loads_of_a_tenant_leave_a_permit_for_another]
}

/// The time limit for events that tests expect soon: half of the time in which a process must load code.
const SOON: Duration = Duration::from_secs(10);

/// A plugin with different bytes for each name.
fn plugin(name: &str) -> anyhow::Result<Vec<u8>> {
    guests::assemble(&format!(
        r#"(module (memory (export "memory") 1) (func (export "_start")) (data (i32.const 0) "{name}"))"#
    ))
}

impl Isolated {
    /// Suspends the processes that load uploaded code, until `compiled` plugins are compiled and one
    /// process is suspended; returns that process.
    async fn stuck(&self, known: &[Runner], compiled: usize) -> anyhow::Result<Runner> {
        let since = Instant::now();
        let mut stopped: Vec<Runner> = vec![];
        loop {
            let is_compiled = self.compiled()? == compiled;
            if let Some(stuck) = stopped.iter().find(|runner| is_compiled && runner.is_stopped()) {
                return Ok(stuck.clone());
            }
            for runner in self.runners()? {
                if !known.contains(&runner) && !stopped.contains(&runner) {
                    runner.stop()?;
                    stopped.push(runner);
                }
            }
            ensure!(since.elapsed() < SOON, "no process loads an upload");
            tokio::task::yield_now().await;
        }
    }
}

async fn trial_loads_of_a_tenant_leave_a_permit_for_another() -> anyhow::Result<()> {
    const UPLOADS: usize = 3;
    let host = Isolated::start().await?;
    let known = host.runners()?;
    let mut greedy = vec![];
    for n in 0..UPLOADS {
        let name = format!("greedy{n}");
        greedy.push(host.upload("greedy", &name, plugin(&name)?));
    }
    let stuck = host.stuck(&known, UPLOADS).await?;
    let answered = || greedy.iter().filter(|upload| upload.is_finished()).count();
    let before = answered();
    ensure!(before < UPLOADS - 1, "one upload is stuck, and another waits for a permit");
    for n in 0..5 {
        let name = format!("modest{n}");
        let upload = host.upload("modest", &name, plugin(&name)?);
        let status = timeout(SOON, upload)
            .await
            .context("it waits for an upload of another tenant")???;
        assert_eq!(status, StatusCode::CREATED);
    }
    assert_eq!(answered(), before, "a tenant has one permit of two");
    stuck.signal("KILL").await?;
    let mut failed = 0;
    for upload in greedy {
        let status = upload.await??;
        failed += usize::from(status == StatusCode::SERVICE_UNAVAILABLE);
        ensure!(status == StatusCode::CREATED || failed == 1, "{status}");
    }
    assert_eq!(failed, 1, "only the upload whose process died fails");
    Ok(())
}
