//! A wall clock over the paused time of tokio: it runs as fast as nothing happens, and it jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use jobwright_core::clock::{Clock, Timestamp, until};
use tokio::time::{Duration, Instant, sleep};

/// As the machine's: who sleeps waits for a span of time, which a jump neither shortens nor extends.
#[derive(Debug, Clone)]
pub(super) struct WallClock {
    start: Instant,
    /// Milliseconds by which it has been set since the start.
    set: Arc<AtomicI64>,
}

impl WallClock {
    /// Of the runtime of this task, whose time is paused.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), set: Arc::default() }
    }

    /// Sets it forwards, or backwards.
    pub(super) fn jump(&self, ms: i64) {
        self.set.fetch_add(ms, Ordering::Relaxed);
    }

    /// What has passed, whatever the clock was set to.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

#[async_trait]
impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        // The start of 2026, far enough from both ends of the calendar.
        let passed = i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX);
        let set = self.set.load(Ordering::Relaxed) * 1000;
        Timestamp::from_microsecond(1_767_225_600_000_000 + passed + set).unwrap_or_default()
    }

    async fn sleep_until(&self, at: Timestamp) {
        sleep(until(self.now(), at)).await;
    }
}
