//! Which commits are on disk. SQLite commits without a sync (`synchronous = NORMAL`), so readers see a commit before
//! it is; they wait until it is before anyone learns what they read.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    /// The number of the latest commit, counted before readers can see it.
    written: AtomicU64,
    synced: watch::Sender<Synced>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Synced {
    /// The number of the latest commit that nobody waits for.
    settled: u64,
    /// Whether a sync failed, so that it is unknown whether that commit is on disk.
    is_unknown: bool,
}

impl Durable {
    /// Waits until every commit that was made before this call is on disk; returns false if that will never be known.
    pub(super) async fn seen(&self) -> bool {
        let seen = self.written.load(Ordering::Acquire);
        let is_settled = |synced: &Synced| synced.settled >= seen;
        let now = *self.synced.borrow();
        if is_settled(&now) {
            return !now.is_unknown;
        }
        let later = self.synced.subscribe().wait_for(is_settled).await.map(|synced| *synced);
        later.is_ok_and(|synced| !synced.is_unknown)
    }

    /// Notes that a commit is about to be made.
    pub(super) fn will_write(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that no commit is waited for any more. `is_known` says whether all are on disk, or were rolled back.
    pub(super) fn settle(&self, is_known: bool) {
        let settled = self.written.load(Ordering::Acquire);
        self.synced.send_if_modified(|synced| {
            let now = Synced { settled, is_unknown: synced.is_unknown || !is_known };
            std::mem::replace(synced, now) != now
        });
    }
}
