//! What a job sees that asked to be the same at every attempt: clocks that advance with each
//! reading and random numbers that follow from the job's id.
//!
//! Invariant: two attempts of one job that read the same way read the same. Not covered: how long a
//! sleep takes, which is real time that these clocks do not show.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jobwright_core::clock::{Timestamp, until};
use jobwright_core::job::Job;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use sha2::{Digest as _, Sha256};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// By how much each reading advances the clocks. A program that waits for a second to pass sees it
/// pass after a thousand readings.
const STEP: Duration = Duration::from_millis(1);

/// Replaces the clocks and the random numbers.
pub(super) fn apply(wasi: &mut WasiCtxBuilder, job: &Job) {
    let readings = Readings::default();
    wasi.wall_clock(WallClock {
        start: until(Timestamp::UNIX_EPOCH, job.created_at),
        readings: readings.clone(),
    });
    wasi.monotonic_clock(MonotonicClock(readings));
    let seed = |word: &str| -> [u8; 32] {
        Sha256::new().chain_update(word).chain_update(job.id.as_bytes()).finalize().into()
    };
    // An algorithm that is fixed for good, unlike rand's `StdRng`. Nothing here is secret.
    wasi.secure_random(Xoshiro256PlusPlus::from_seed(seed("random")));
    wasi.insecure_random(Xoshiro256PlusPlus::from_seed(seed("insecure random")));
    wasi.insecure_random_seed(u128::from_be_bytes(*job.id.as_bytes()));
}

/// A time that passes with each reading; the clocks share one.
#[derive(Debug, Clone, Default)]
pub(super) struct Readings(Arc<AtomicU64>);

impl Readings {
    /// The time that has passed; the first reading sees none.
    pub(super) fn next(&self) -> Duration {
        let readings = self.0.fetch_add(1, Ordering::Relaxed);
        STEP.saturating_mul(u32::try_from(readings).unwrap_or(u32::MAX))
    }
}

struct WallClock {
    start: Duration,
    readings: Readings,
}

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        STEP
    }

    fn now(&self) -> Duration {
        self.start.saturating_add(self.readings.next())
    }
}

struct MonotonicClock(Readings);

impl HostMonotonicClock for MonotonicClock {
    fn resolution(&self) -> u64 {
        nanos(STEP)
    }

    fn now(&self) -> u64 {
        nanos(self.0.next())
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_share_one_time_that_starts_at_the_job() {
        let readings = Readings::default();
        let start = Duration::from_secs(1_000);
        let wall = WallClock { start, readings: readings.clone() };
        let monotonic = MonotonicClock(readings);
        assert_eq!(monotonic.now(), 0);
        assert_eq!(wall.now(), start + STEP);
        assert_eq!(monotonic.now(), nanos(2 * STEP));
    }
}
