//! Time. Only the host crate reads the machine's clock.

use std::time::Duration;

use async_trait::async_trait;

/// A point in time, to the microsecond (what the stores keep).
pub type Timestamp = jiff::Timestamp;

/// How far ahead a job may be scheduled, and the longest wait between two attempts, before jitter.
pub const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The present time, and waiting for a time. Tests set it.
///
/// A host has two clocks. Its own never steps, so that a span (a lease, a delay, a back-off, the
/// life of a key) is neither shortened nor extended when the machine's clock is set. The wall clock
/// is the machine's clock as it is set.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The present time by the host's clock, without anything finer than a microsecond.
    fn now(&self) -> Timestamp;

    /// The present time by the wall clock, for times that clients give and guests see.
    fn wall(&self) -> Timestamp;

    /// Returns at `at` or soon after; at once if that has passed.
    async fn sleep_until(&self, at: Timestamp);
}

/// How fast the host's clock approaches a wall clock that was set: by a twentieth of the time that
/// passes. A delay is then off by 5 % at most, and a correction of an hour is followed within 20 hours.
const SLEW: i128 = 20;

/// Nanoseconds from 1970 to the start of 2026, before this code was written: an earlier time is
/// that of a machine without a battery-backed clock, which starts in 1970 or at its build date and learns the
/// time from the network later. Only then is the wall clock followed at once.
const PLAUSIBLE: i128 = 1_767_225_600 * 1_000_000_000;

/// The host's clock.
///
/// It starts with the wall clock, advances with the time since the machine started (suspend included, as
/// that time has passed for clients too), and follows a wall clock that was set [slowly](SLEW), however
/// far: a wall clock that is wrong for a while must not make everything due, or old. It steps only from a
/// time that [cannot be](PLAUSIBLE), and never goes back.
#[derive(Debug, Clone)]
pub struct HostTime {
    /// Nanoseconds since 1970.
    time: i128,
    /// When it was last read, as the time since the machine started.
    read_at: Duration,
}

impl HostTime {
    /// The clock of a host that starts now.
    #[must_use]
    pub fn new(since_boot: Duration, wall: Timestamp) -> Self {
        Self { time: wall.as_nanosecond(), read_at: since_boot }
    }

    /// The present time, in whole microseconds.
    pub fn read(&mut self, since_boot: Duration, wall: Timestamp) -> Timestamp {
        let passed = since_boot.saturating_sub(self.read_at).as_nanos().cast_signed();
        let unset = self.time + passed;
        let ahead = wall.as_nanosecond() - unset;
        let slewed = ahead.clamp(-passed / SLEW, passed / SLEW);
        let learns = unset < PLAUSIBLE && wall.as_nanosecond() >= PLAUSIBLE;
        self.time = unset + if learns { ahead } else { slewed };
        self.read_at = self.read_at.max(since_boot);
        let micros = i64::try_from(self.time.div_euclid(1000)).unwrap_or(i64::MAX);
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).expect("a time in the calendar")
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn without_a_correction_both_clocks_read_the_same() {
        let mut clock = HostTime::new(HOUR, at(0));
        for passed in [0, 1, 10, 100_000] {
            let now = clock.read(HOUR + seconds(passed), at(passed.cast_signed()));
            assert_eq!(now, at(passed.cast_signed()));
        }
    }

    #[test]
    fn a_wall_clock_that_is_set_changes_no_span_by_more_than_a_twentieth() {
        for set in [-7 * 3600, 7 * 3600] {
            let mut clock = HostTime::new(HOUR, at(0));
            let before = clock.read(HOUR, at(set));
            assert_eq!(before, at(0), "it does not step");
            let after = clock.read(HOUR + seconds(100), at(set + 100));
            assert_eq!(after, at(100 + set.signum() * 5));
            let long = 7 * 20 * HOUR + seconds(100);
            assert_eq!(clock.read(HOUR + long, at(set + 504_100)), at(set + 504_100));
        }
    }

    #[test]
    fn a_wall_clock_that_is_wrong_by_days_for_a_while_is_not_followed() {
        for wrong in [25 * 3600, 365 * 24 * 3600, -25 * 3600] {
            let mut clock = HostTime::new(HOUR, at(0));
            assert_eq!(clock.read(HOUR, at(wrong)), at(0));
            let then = clock.read(HOUR + seconds(100), at(wrong + 100));
            assert_eq!(then, at(100 + wrong.signum() * 5));
            assert_eq!(clock.read(HOUR + seconds(200), at(200)), at(200), "and back");
        }
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut clock = HostTime::new(HOUR, at(100));
        assert_eq!(clock.read(HOUR, at(0)), at(100));
        assert_eq!(clock.read(seconds(0), at(0)), at(100), "a reading out of order");
        assert_eq!(clock.read(HOUR + seconds(20), at(20)), at(119));
    }

    #[test]
    fn a_machine_that_starts_in_1970_learns_the_time_at_once() {
        let mut clock = HostTime::new(seconds(5), Timestamp::UNIX_EPOCH);
        assert_eq!(clock.read(seconds(6), after(Timestamp::UNIX_EPOCH, seconds(1))).as_second(), 1);
        assert_eq!(clock.read(seconds(7), at(0)), at(0));
        assert_eq!(clock.read(seconds(7), at(3600)), at(0), "from then on it does not step");
    }
}
