//! Clocks over tokio's paused time, which advances when all tasks are idle. The wall clock can jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use jobwright_core::clock::{Clock, Timestamp, until};
use tokio::time::{Duration, Instant, sleep};

/// Like the machine's clocks: a jump of the wall clock neither shortens nor extends a sleep.
#[derive(Debug, Clone)]
pub(super) struct WallClock {
    start: Instant,
    /// Milliseconds that were skipped.
    skipped: Arc<AtomicI64>,
    /// Milliseconds by which the wall clock has been set since the start.
    set: Arc<AtomicI64>,
}

impl WallClock {
    /// A clock over the paused time of the current runtime.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), skipped: Arc::default(), set: Arc::default() }
    }

    /// Sets the wall clock forwards, or backwards.
    pub(super) fn jump(&self, ms: i64) {
        self.set.fetch_add(ms, Ordering::Relaxed);
    }

    /// Called when a process starts: its clock starts at the wall clock.
    pub(super) fn restart(&self) {
        self.skip(self.set.swap(0, Ordering::Relaxed));
    }

    /// Skips a time in which nothing happens.
    pub(super) fn skip(&self, ms: i64) {
        self.skipped.fetch_add(ms, Ordering::Relaxed);
    }

    /// The elapsed time, independent of the wall clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

#[async_trait]
impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        // The start of 2026, far enough from both ends of the calendar.
        let passed = i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX);
        let skipped = self.skipped.load(Ordering::Relaxed) * 1000;
        Timestamp::from_microsecond(1_767_225_600_000_000 + passed + skipped).unwrap_or_default()
    }

    fn wall(&self) -> Timestamp {
        let set = self.set.load(Ordering::Relaxed) * 1000;
        let wall = self.now().as_microsecond() + set;
        Timestamp::from_microsecond(wall).unwrap_or_default()
    }

    async fn sleep_until(&self, at: Timestamp) {
        sleep(until(self.now(), at)).await;
    }
}
