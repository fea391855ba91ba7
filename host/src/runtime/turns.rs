//! The turns of a guest: whether it does not go on because it waits for something, or only because
//! others have their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Of one guest.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<AtomicBool>);

impl Turns {
    /// Lets others have their turn.
    pub(super) async fn give_way(self) {
        self.0.store(true, Ordering::Relaxed);
        // Behind all others that wait, unlike wasmtime's own yield.
        tokio::task::yield_now().await;
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the guest, which is not being polled, would go on by itself. When that happens is
    /// chance, so it must not decide on anything that the guest sees.
    pub(super) fn is_others(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
