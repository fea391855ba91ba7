//! Time, as the rest of the code may see it. The machine's clock is read in the host only.

use std::time::Duration;

use async_trait::async_trait;

/// A point in time, to the microsecond (what the stores keep).
pub type Timestamp = jiff::Timestamp;

/// Tells the time and waits for it. Tests move it by hand.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The present time, without anything finer than a microsecond.
    fn now(&self) -> Timestamp;

    /// Returns at `at` or soon after; at once if that has passed.
    async fn sleep_until(&self, at: Timestamp);
}

/// How long it is from `now` to `at`; zero if `at` has passed.
#[must_use]
pub fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// `at` plus `by`, which stops at the end of time instead of overflowing.
#[must_use]
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
