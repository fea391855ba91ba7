//! The verdict on an attempt that ended.

use std::time::Duration;

use super::backoff::Backoff;
use super::policy::Cause;
use crate::clock::{Timestamp, after};
use crate::job::row::Job;
use crate::job::verdict::Verdict;
use crate::outcome::{Outcome, RetryHint};

/// How often the host may fail to start a job before it is discarded.
pub const MAX_REFUSED: u16 = 10;

/// The shortest wait of a snooze: snoozes do not count as attempts, and one that asks for no wait at all
/// would run a job again and again without a pause.
pub const MIN_SNOOZE: Duration = Duration::from_secs(1);

/// The verdict on `outcome`, [as it counts](super::settle), of the running attempt at `job`. `jitter` is 0
/// to 1, from the caller, so that the same arguments always give the same verdict.
#[must_use]
pub fn decide(job: &Job, outcome: &Outcome, now: Timestamp, jitter: f64) -> Verdict {
    let Job { spec, lifecycle, .. } = job;
    let retry = |cause: Cause, asked: Option<Duration>| {
        let failures = lifecycle.failures.saturating_add(1);
        if !spec.retry.allows(cause) || failures >= spec.max_attempts {
            return Verdict::Discard;
        }
        let wait = asked.unwrap_or_else(|| spec.backoff.wait(failures, jitter));
        Verdict::Retry { at: after(now, wait) }
    };
    match outcome {
        Outcome::Succeeded { .. } => Verdict::Complete,
        Outcome::Cancelled => Verdict::Cancel,
        Outcome::Failed { retry: RetryHint::Never, .. }
        | Outcome::Refused { transient: false, .. } => Verdict::Discard,
        Outcome::Failed { retry: RetryHint::Backoff, .. } => retry(Cause::Failed, None),
        Outcome::Failed { retry: RetryHint::After(wait), .. } => retry(Cause::Failed, Some(*wait)),
        Outcome::Snoozed { wait, .. } => {
            let usual = || spec.backoff.wait(lifecycle.snoozes.saturating_add(1), jitter);
            Verdict::Snooze { at: after(now, wait.unwrap_or_else(usual).max(MIN_SNOOZE)) }
        }
        Outcome::Trapped { .. } => retry(Cause::Trapped, None),
        Outcome::LimitExceeded { limit, .. } => retry((*limit).into(), None),
        Outcome::Refused { .. } if lifecycle.refused >= MAX_REFUSED => Verdict::Discard,
        Outcome::Refused { .. } => {
            // The host failed, not the job: what a submitter chose for failures does not apply.
            let wait = Backoff::default().wait(lifecycle.refused.saturating_add(1), jitter);
            Verdict::Release { at: after(now, wait), refused: true }
        }
        // A lost attempt is normally reclaimed, not finished. If one is finished as lost, it is released
        // for the next host.
        Outcome::Interrupted | Outcome::Lost => Verdict::Release { at: now, refused: false },
    }
}
