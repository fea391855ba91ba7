//! Takes back what a dead or stalled host held, and removes what is past its retention.

use std::time::Duration;

use jobwright_core::clock::Timestamp;
use jobwright_core::store::Retention;

use super::Dispatcher;

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
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot reclaim expired leases");
                    return;
                }
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
