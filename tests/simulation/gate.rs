//! The gate that all calls and guests of a host pass: open, blocked while the host stalls, or closed for
//! ever.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Held,
    Closed,
}

/// The gate of one host.
#[derive(Debug)]
pub(super) struct Gate {
    way: Mutex<Way>,
    changed: Notify,
}

impl Default for Gate {
    fn default() -> Self {
        Self { way: Mutex::new(Way::Open), changed: Notify::new() }
    }
}

impl Gate {
    /// Stalls the host, or lets it continue.
    pub(super) fn hold(&self, held: bool) {
        let mut way = self.way();
        if *way != Way::Closed {
            *way = if held { Way::Held } else { Way::Open };
        }
        drop(way);
        self.changed.notify_waiters();
    }

    /// Kills the host: its tasks never continue.
    pub(super) fn close(&self) {
        *self.way() = Way::Closed;
    }

    pub(super) fn is_open(&self) -> bool {
        *self.way() == Way::Open
    }

    /// Returns when the host is not stalled.
    pub(super) async fn pass(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_open() {
                return;
            }
            changed.await;
        }
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
