//! The rate limit of submissions.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::{Timestamp, after, until};

/// The state of a tenant's rate limit: the generic cell rate algorithm (ITU-T I.371), whose only state is a
/// time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// When all that was admitted is used up at the rate.
    used_until: Option<Timestamp>,
}

impl Pace {
    /// Admits `jobs` at once at `now`, if no more than a second's worth is ahead of the rate.
    ///
    /// # Errors
    /// The time to wait before the next try. More than a second's worth is admitted when nothing is ahead of
    /// the rate.
    pub fn admit(
        &mut self,
        now: Timestamp,
        jobs: u32,
        per_second: NonZeroU32,
    ) -> Result<(), Duration> {
        const BURST: Duration = Duration::from_secs(1);
        let cost = (BURST / per_second.get()).saturating_mul(jobs);
        // A clock that was set back must not hold anyone up for longer than a whole batch at the
        // slowest rate.
        let latest = after(now, BURST * 1000);
        let from = self.used_until.map_or(now, |at| at.clamp(now, latest));
        let ahead = until(now, from);
        let room = BURST.saturating_sub(cost);
        if ahead > room {
            return Err(ahead - room);
        }
        self.used_until = Some(after(from, cost));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_the_rate_holds() {
        let (mut pace, rate) = (Pace::default(), NonZeroU32::new(10).expect("ten"));
        let at = |ms| after(Timestamp::UNIX_EPOCH, Duration::from_millis(ms));
        for _ in 0..10 {
            assert_eq!(pace.admit(at(0), 1, rate), Ok(()));
        }
        assert_eq!(pace.admit(at(0), 1, rate), Err(Duration::from_millis(100)));
        assert_eq!(pace.admit(at(50), 1, rate), Err(Duration::from_millis(50)));
        assert_eq!(pace.admit(at(100), 1, rate), Ok(()));
        assert_eq!(pace.admit(at(100), 5, rate), Err(Duration::from_millis(500)));
        assert_eq!(pace.admit(at(600), 5, rate), Ok(()));
    }

    #[test]
    fn a_batch_beyond_the_rate_is_admitted_when_nothing_is_ahead_of_it() {
        let (mut pace, rate) = (Pace::default(), NonZeroU32::new(10).expect("ten"));
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(pace.admit(now, 1_000, rate), Ok(()));
        assert_eq!(pace.admit(now, 1, rate), Err(Duration::from_millis(99_100)));
        let later = after(now, Duration::from_secs(100));
        assert_eq!(pace.admit(later, 1, rate), Ok(()));
    }
}
