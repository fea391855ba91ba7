//! A clock that tests move by hand.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use jobwright_core::clock::{Clock, Timestamp, after};
use tokio::sync::watch;

/// Stands still until it is moved. A task that sleeps wakes when it is moved far enough.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<watch::Sender<Timestamp>>, Arc<watch::Sender<SignedDuration>>);

impl Default for TestClock {
    /// A clock at the start of 2026.
    fn default() -> Self {
        let start = Timestamp::from_second(1_767_225_600).unwrap_or_default();
        Self(
            Arc::new(watch::Sender::new(start)),
            Arc::new(watch::Sender::new(SignedDuration::ZERO)),
        )
    }
}

impl TestClock {
    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = after(*now, by));
    }

    /// Sets the wall clock, forwards or backwards, as an operator or a time server does.
    pub fn set_wall(&self, by: SignedDuration) {
        self.1.send_modify(|ahead| *ahead = ahead.saturating_add(by));
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn wall(&self) -> Timestamp {
        self.now().saturating_add(*self.1.borrow()).unwrap_or_default()
    }

    async fn sleep_until(&self, at: Timestamp) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|now| *now >= at).await;
    }
}
