//! The clocks of one guest, and its timers.
//!
//! Both clocks show one time: the wall clock counted from 1970, the monotonic one from [`ORIGIN`]. Moments
//! are nanoseconds since the attempt began.
//!
//! Invariants: no clock has a finer resolution than the attempt's start allows; the monotonic clock
//! never shows zero. The time of a deterministic job moves by a step with each reading, and to the
//! end of each sleep: both follow from what the guest does, so the attempt can be replayed. The
//! time of any other job is real. A sleep takes real time in both.

mod simulated;

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::attempt::{Attempt, Start};
use jobwright_core::clock::{Timestamp, until};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use self::simulated::Simulated;
use crate::clock::Stopwatch;

/// The monotonic clock at the start of an attempt: one day. Go's runtime treats zero as a broken
/// clock, and programs subtract minutes and hours from their first reading.
const ORIGIN: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The clocks of one guest. Copies show the same time.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    /// The wall clock at the start of the attempt, in nanoseconds since 1970.
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

/// When a timer expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// This number of nanoseconds from now.
    After(u64),
    /// At this reading of the monotonic clock, in nanoseconds.
    Monotonic(u64),
    /// At this reading of the wall clock, in nanoseconds since 1970.
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

    /// The reading of the wall clock.
    fn wall(&self) -> u64 {
        self.floor(self.wall.saturating_add(self.read()))
    }

    /// The reading of the monotonic clock.
    pub(super) fn monotonic(&self) -> u64 {
        self.floor(ORIGIN.saturating_add(self.read()))
    }

    /// The step of both, in nanoseconds.
    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// The moment of a timer that is set at `now`, rounded up, so that a clock which is read
    /// afterwards shows at least the time of the timer.
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

    /// Waits until `moment`. If several moments are awaited at once and the first ends the wait,
    /// only the timers that were due with it have expired.
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
    /// Whether the first wait yields although the timer has expired: a guest may poll in a loop
    /// with an expired timer.
    yields: bool,
}

impl Timer {
    /// Waits until it expires.
    pub(super) async fn expire(&mut self) {
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
