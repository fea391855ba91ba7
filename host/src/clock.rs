//! The machine's clocks. Only this module reads one.

use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use jobwright_core::clock::{Clock, Timestamp, until};

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
        let since_epoch =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }

    async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(until(self.now(), at)).await;
    }
}

/// Measures a span on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins to measure.
    #[must_use]
    pub(crate) fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the monotonic clock"
        )]
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
