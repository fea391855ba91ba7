//! A clock that tests move by hand.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobwright_core::clock::{Clock, Timestamp, after};
use tokio::sync::watch;

/// Stands still until moved; who sleeps wakes when it is moved far enough.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<watch::Sender<Timestamp>>);

impl Default for TestClock {
    /// A clock at the start of 2026.
    fn default() -> Self {
        let start = Timestamp::from_second(1_767_225_600).unwrap_or_default();
        Self(Arc::new(watch::Sender::new(start)))
    }
}

impl TestClock {
    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = after(*now, by));
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn sleep_until(&self, at: Timestamp) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|now| *now >= at).await;
    }
}
