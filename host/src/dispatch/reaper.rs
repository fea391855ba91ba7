//! Reclaims the leases of dead and stalled hosts, and removes finalized jobs after their retention.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::clock::Timestamp;
use jobwright_core::store::Retention;

use super::Dispatcher;

/// The maximum number of jobs that one command of the store reclaims or removes. A small number keeps other
/// commands from waiting.
const BATCH: usize = 500;

/// The interval at which finalized jobs are removed; retention is a matter of hours.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

impl Dispatcher {
    /// Reclaims leases that have expired at `now`. Any host can do this; no leader is needed.
    pub(super) async fn reap(&self, now: Timestamp) {
        loop {
            match self.parts.store.reclaim_expired(now, BATCH).await {
                Ok(reclaimed) if reclaimed.is_empty() => return,
                Ok(reclaimed) => {
                    tracing::warn!(jobs = reclaimed.len(), "reclaimed jobs of lost attempts");
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot reclaim expired leases");
                    return;
                }
            }
        }
    }

    /// Removes finalized jobs after their retention.
    pub(super) async fn pruning(self: Arc<Self>) {
        self.repeat(PRUNE_INTERVAL, || self.prune()).await;
    }

    async fn prune(&self) {
        let now = self.parts.clock.now();
        let before = |kept: Duration| now.checked_sub(kept).unwrap_or(Timestamp::MIN);
        let retention = Retention {
            completed_before: before(self.settings.retention.completed),
            discarded_before: before(self.settings.retention.discarded),
            now,
        };
        loop {
            match self.parts.store.prune(retention, BATCH).await {
                Ok(BATCH) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot remove finalized jobs");
                    return;
                }
            }
        }
    }
}
