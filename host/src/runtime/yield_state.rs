//! Whether a guest that is not being polled waits for something, or only yielded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The state of one guest. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct YieldState(Arc<AtomicBool>);

impl YieldState {
    /// Yields to other tasks.
    pub(super) async fn yield_now(self) {
        self.0.store(true, Ordering::Relaxed);
        // Behind all other tasks that are ready, unlike wasmtime's own yield.
        tokio::task::yield_now().await;
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the guest has yielded, and will go on without an event. The time of that depends on
    /// other tasks, so nothing that the guest can observe may depend on it.
    pub(super) fn is_yielding(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
