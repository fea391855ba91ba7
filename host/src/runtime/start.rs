//! What follows from where an attempt begins ([`Start`]): the clocks and the random numbers of its
//! guest.
//!
//! Invariants: random numbers follow from the seed alone, so an attempt that is made again sees the
//! same; no clock shows more than the step that the start allows; the clocks of a deterministic job
//! advance with each reading and with nothing else, those of any other as real time does. Not
//! covered: how long a sleep takes, which is always real time.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jobwright_core::attempt::{Attempt, Start};
use jobwright_core::clock::{Timestamp, until};
use rand::rngs::ChaCha20Rng;
use rand::{Rng as _, SeedableRng as _};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

use crate::clock::Stopwatch;

/// The streams of the generator, so that reading one kind of numbers tells nothing of another.
const SECURE: u64 = 0;
const INSECURE: u64 = 1;
const INSECURE_SEED: u64 = 2;

/// Gives a guest its clocks and random numbers.
pub(super) fn apply(wasi: &mut WasiCtxBuilder, attempt: &Attempt) {
    let Start { seed, clock, step_us } = attempt.start;
    // An algorithm that is fixed for good, unlike rand's `StdRng`, and that guests may make secrets
    // with.
    let stream = |number: u64| {
        let mut stream = ChaCha20Rng::from_seed(seed.0);
        stream.set_stream(number);
        stream
    };
    wasi.secure_random(stream(SECURE)).insecure_random(stream(INSECURE));
    let mut seeds = stream(INSECURE_SEED);
    wasi.insecure_random_seed(u128::from(seeds.next_u64()) << 64 | u128::from(seeds.next_u64()));
    let passed = Passed::of(attempt);
    let step = step(step_us);
    let start = until(Timestamp::UNIX_EPOCH, clock);
    wasi.wall_clock(WallClock { start, step, passed: passed.clone() });
    wasi.monotonic_clock(MonotonicClock { step, passed });
}

/// How much time has passed for a guest; its clocks share one.
#[derive(Debug, Clone)]
pub(super) enum Passed {
    /// As much as has really passed since the start.
    Real(Stopwatch),
    /// A step for each reading; the first sees none.
    Readings {
        /// How many there were.
        count: Arc<AtomicU64>,
        /// By how much each advances the time. A program that waits for a second to pass sees it
        /// pass after a thousand readings, unless it was granted another step.
        step: Duration,
    },
}

impl Passed {
    /// None yet, for the guest of `attempt`.
    pub(super) fn of(attempt: &Attempt) -> Self {
        if attempt.job.spec.deterministic {
            Self::Readings { count: Arc::default(), step: step(attempt.start.step_us) }
        } else {
            Self::Real(Stopwatch::start())
        }
    }

    /// None, ever.
    pub(super) fn none() -> Self {
        Self::Readings { count: Arc::default(), step: Duration::ZERO }
    }

    /// The time that has passed.
    pub(super) fn read(&self) -> Duration {
        match self {
            Self::Real(watch) => watch.elapsed(),
            Self::Readings { count, step } => {
                let readings = count.fetch_add(1, Ordering::Relaxed);
                step.saturating_mul(u32::try_from(readings).unwrap_or(u32::MAX))
            }
        }
    }
}

fn step(step_us: NonZeroU32) -> Duration {
    Duration::from_micros(step_us.get().into())
}

struct WallClock {
    start: Duration,
    step: Duration,
    passed: Passed,
}

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        self.step
    }

    fn now(&self) -> Duration {
        let nanos = floor(self.start.saturating_add(self.passed.read()), self.step);
        Duration::from_nanos(nanos)
    }
}

struct MonotonicClock {
    step: Duration,
    passed: Passed,
}

impl HostMonotonicClock for MonotonicClock {
    fn resolution(&self) -> u64 {
        nanos(self.step)
    }

    fn now(&self) -> u64 {
        floor(self.passed.read(), self.step)
    }
}

/// The last step that `span` has reached, in nanoseconds.
fn floor(span: Duration, step: Duration) -> u64 {
    let nanos = nanos(span);
    nanos - nanos % self::nanos(step).max(1)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    #[test]
    fn deterministic_clocks_share_one_time_that_starts_at_the_job() {
        let passed = Passed::Readings { count: Arc::default(), step: STEP };
        let start = Duration::from_secs(1_000);
        let wall = WallClock { start, step: STEP, passed: passed.clone() };
        let monotonic = MonotonicClock { step: STEP, passed };
        assert_eq!(monotonic.now(), 0);
        assert_eq!(wall.now(), start + STEP);
        assert_eq!(monotonic.now(), nanos(2 * STEP));
    }

    #[test]
    fn clocks_show_whole_steps_only() {
        let start = Duration::from_micros(1_234_567);
        let wall = WallClock { start, step: STEP, passed: Passed::Real(Stopwatch::start()) };
        assert_eq!(wall.now().subsec_nanos() % 1_000_000, 0);
        assert_eq!(floor(start, STEP), 1_234_000_000);
        assert_eq!(floor(start, Duration::from_secs(1)), 1_000_000_000);
        assert_eq!(floor(start, Duration::from_micros(1)), 1_234_567_000);
    }
}
