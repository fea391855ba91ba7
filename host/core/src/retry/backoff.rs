//! How long a job waits before its next attempt.

use std::time::Duration;

/// The longest back-off between two attempts. A wait that the guest names may be longer.
pub const MAX_BACKOFF: Duration = Duration::from_secs(6 * 60 * 60);

/// How long to wait after the `n`-th failure: `min(n⁴ + 5 s, 6 h)`, spread by ± 20 % so that jobs
/// that failed together do not return together. Sidekiq's and River's shape.
pub(super) fn backoff(n: u16, jitter: f64) -> Duration {
    let seconds = u64::from(n).saturating_pow(4).saturating_add(5);
    let base = Duration::from_secs(seconds).min(MAX_BACKOFF);
    base.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}
