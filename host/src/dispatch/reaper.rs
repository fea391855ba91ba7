//! Takes back what a dead or stalled host held, and removes what is past its retention.

use std::time::Duration;

use jobwright_core::clock::Timestamp;
use jobwright_core::job::JobId;
use jobwright_core::lifecycle::JobState;
use jobwright_core::store::Retention;

use super::Dispatcher;
use crate::telemetry;

/// Jobs that one step takes back or removes: a step is one command of the store, so a small number
/// keeps others from waiting behind it.
const BATCH: usize = 500;

/// How often finalized jobs are looked at. A retention of hours needs no better.
const PRUNE: Duration = Duration::from_secs(60);

impl Dispatcher {
    /// Reclaims leases that have expired at `now`. Needs no leader: every host may.
    pub(super) async fn reap(&self, now: Timestamp) {
        loop {
            match self.store.reclaim_expired(now, BATCH).await {
                Ok(reclaimed) if reclaimed.is_empty() => return,
                Ok(reclaimed) => {
                    tracing::warn!(jobs = reclaimed.len(), "reclaimed jobs of lost attempts");
                    self.report_discarded(&reclaimed).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot reclaim expired leases");
                    return;
                }
            }
        }
    }

    /// Reports those of `jobs` that their lost attempt discarded.
    async fn report_discarded(&self, jobs: &[JobId]) {
        for id in jobs {
            if let Ok(Some(job)) = self.store.get(*id).await
                && job.lifecycle.state == JobState::Discarded
            {
                telemetry::discarded(
                    &job,
                    job.attempts.last().and_then(|last| last.error.as_ref()),
                );
            }
        }
    }

    /// Removes finalized jobs that are past their retention.
    pub(super) async fn pruning(self) {
        self.repeat(PRUNE, || self.prune()).await;
    }

    async fn prune(&self) {
        let now = self.clock.now();
        let before = |kept: Duration| now.checked_sub(kept).unwrap_or(Timestamp::MIN);
        let retention = Retention {
            completed_before: before(self.settings.retention.completed),
            discarded_before: before(self.settings.retention.discarded),
            now,
        };
        loop {
            match self.store.prune(retention, BATCH).await {
                Ok(BATCH) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot prune");
                    return;
                }
            }
        }
    }
}
