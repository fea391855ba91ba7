//! The clocks of one guest, and its timers.
//!
//! Both clocks show one time: the wall clock counted from 1970, the monotonic one from [`ORIGIN`]. Moments
//! are nanoseconds since the attempt began.
//!
//! Invariants: no clock shows more than the step that the attempt's start allows; the monotonic clock never
//! shows zero. The time of a deterministic job moves by a step with each reading, and to the end of each
//! sleep: both follow from what the guest does, so the attempt can be made again. The time of any other
//! job is real. A sleep takes real time in both.

mod simulated;

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::attempt::{Attempt, Start};
use jobwright_core::clock::{Timestamp, until};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use self::simulated::Simulated;
use crate::clock::Stopwatch;

/// What the monotonic clock shows when an attempt begins: a day. Go's runtime takes zero for a broken
/// clock, and programs subtract minutes and hours from their first reading.
const ORIGIN: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The clocks of one guest. Copies show the same time.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    /// What the wall clock shows when the attempt begins, in nanoseconds since 1970.
    wall: u64,
    /// In nanoseconds, at least 1.
    step: u64,
    time: Time,
}

#[derive(Debug, Clone)]
enum Time {
    Real(Stopwatch),
    Simulated(Arc<Simulated>),
}

/// When a timer rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// After so many nanoseconds from now.
    After(u64),
    /// When the monotonic clock shows this, in nanoseconds.
    Monotonic(u64),
    /// When the wall clock shows this, in nanoseconds since 1970.
    Wall(u64),
}

impl Clocks {
    /// The clocks of `attempt`, which begins now.
    pub(super) fn of(attempt: &Attempt) -> Self {
        let Start { clock, step_us, .. } = attempt.start;
        let step = u64::from(step_us.get()) * 1_000;
        let time = match attempt.is_deterministic() {
            true => Time::Simulated(Arc::new(Simulated::new(step))),
            false => Time::Real(Stopwatch::start()),
        };
        Self { wall: nanos(until(Timestamp::UNIX_EPOCH, clock)), step, time }
    }

    /// Clocks that stand still.
    pub(super) fn still() -> Self {
        Self { wall: 0, step: 1, time: Time::Simulated(Arc::new(Simulated::new(0))) }
    }

    /// Reads the time.
    pub(super) fn read(&self) -> u64 {
        match &self.time {
            Time::Real(watch) => nanos(watch.elapsed()),
            Time::Simulated(time) => time.read(),
        }
    }

    /// The time, without the step of a reading.
    fn peek(&self) -> u64 {
        match &self.time {
            Time::Real(watch) => nanos(watch.elapsed()),
            Time::Simulated(time) => time.now(),
        }
    }

    /// What the wall clock shows.
    fn wall(&self) -> u64 {
        self.floor(self.wall.saturating_add(self.read()))
    }

    /// What the monotonic clock shows.
    pub(super) fn monotonic(&self) -> u64 {
        self.floor(ORIGIN.saturating_add(self.read()))
    }

    /// The step of both, in nanoseconds.
    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// The moment of a timer that is set at `now`. A clock that is waited for shows the time by then, and
    /// not the step before it.
    pub(super) fn moment(&self, due: Due, now: u64) -> u64 {
        let shown = |time: u64| time.checked_next_multiple_of(self.step).unwrap_or(u64::MAX);
        match due {
            Due::After(span) => now.saturating_add(span),
            Due::Monotonic(time) => shown(time).saturating_sub(ORIGIN),
            Due::Wall(time) => shown(time).saturating_sub(self.wall),
        }
    }

    /// A timer that is set now.
    pub(super) fn timer(&self, due: Due) -> Timer {
        let now = self.peek();
        let moment = self.moment(due, now);
        Timer { clocks: self.clone(), moment, yields: moment <= now }
    }

    /// Waits until `moment`. If several are waited for at once and the first ends all waits, only those
    /// timers have rung that were due with it.
    pub(super) async fn wait_until(&self, moment: u64) {
        match &self.time {
            Time::Real(watch) => {
                let left = moment.saturating_sub(nanos(watch.elapsed()));
                if left > 0 {
                    tokio::time::sleep(Duration::from_nanos(left)).await;
                }
            }
            Time::Simulated(time) => time.wait_until(moment).await,
        }
    }

    /// The last step that `nanos` has reached.
    fn floor(&self, nanos: u64) -> u64 {
        nanos - nanos % self.step
    }
}

/// A timer that was set.
#[derive(Debug)]
pub(super) struct Timer {
    clocks: Clocks,
    moment: u64,
    /// Whether the first wait lets others go on although nothing is waited for: a guest may look at other
    /// things again and again, with a timer that has rung.
    yields: bool,
}

impl Timer {
    /// Waits until it rings.
    pub(super) async fn rings(&mut self) {
        if std::mem::take(&mut self.yields) {
            tokio::task::yield_now().await;
        }
        self.clocks.wait_until(self.moment).await;
    }
}

impl HostWallClock for Clocks {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(self.step)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.wall())
    }
}

impl HostMonotonicClock for Clocks {
    fn resolution(&self) -> u64 {
        self.step
    }

    fn now(&self) -> u64 {
        self.monotonic()
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
