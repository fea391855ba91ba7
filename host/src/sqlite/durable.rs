//! Which commits are on disk. SQLite commits without a sync (`synchronous = NORMAL`), so readers see a commit before
//! it is; they wait until it is before anyone learns what they read.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    /// The number of the latest commit, counted before readers can see it.
    written: AtomicU64,
    synced: watch::Sender<u64>,
}

impl Durable {
    /// Waits until every commit that was made before this call is on disk, or until that will never be known.
    pub(super) async fn seen(&self) {
        let seen = self.written.load(Ordering::Acquire);
        if *self.synced.borrow() < seen {
            // An error means that the sender is dropped, and it is in `self`.
            let _ = self.synced.subscribe().wait_for(|synced| *synced >= seen).await;
        }
    }

    /// Notes that a commit is about to be made.
    pub(super) fn will_write(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that no commit is waited for any more: all are on disk, or have failed.
    pub(super) fn settle(&self) {
        let written = self.written.load(Ordering::Acquire);
        self.synced.send_if_modified(|synced| std::mem::replace(synced, written) != written);
    }
}
