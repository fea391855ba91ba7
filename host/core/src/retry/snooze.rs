//! Bounds on what the guest asks for at the end of an attempt: snoozes in sequence, and waits.

use std::time::Duration;

use super::backoff::Backoff;
use crate::clock::{MAX_DELAY, Timestamp, until};
use crate::job::lifecycle::Lifecycle;
use crate::outcome::{AttemptError, Outcome, RetryHint};

/// How often in sequence an attempt may be snoozed; the next one is a failure.
pub const MAX_SNOOZES: u16 = 100;

/// The maximum duration of a sequence of snoozes; a later snooze counts as a failure.
pub const MAX_SNOOZED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Applies the bounds to `outcome` of the running attempt: a snooze counts as a failure once its sequence
/// is too long, and no wait is longer than [`MAX_DELAY`]. The error's message notes each change.
#[must_use]
pub fn settle(
    lifecycle: &Lifecycle,
    backoff: &Backoff,
    outcome: Outcome,
    now: Timestamp,
) -> Outcome {
    match outcome {
        Outcome::Snoozed { error, wait } => {
            let (error, wait) = bounded(error, wait);
            match exhausted(lifecycle, now) {
                None => Outcome::Snoozed { error, wait },
                Some(why) => {
                    // At least the back-off of a failure: the short waits have not helped.
                    let usual = backoff.wait(lifecycle.failures.saturating_add(1), 0.5);
                    let longer = wait.filter(|wait| *wait > usual);
                    let retry = longer.map_or(RetryHint::Backoff, RetryHint::After);
                    Outcome::Failed { error: error.with_note(&why), retry }
                }
            }
        }
        Outcome::Failed { error, retry: RetryHint::After(wait) } => {
            let (error, wait) = bounded(error, Some(wait));
            let retry = wait.map_or(RetryHint::Backoff, RetryHint::After);
            Outcome::Failed { error, retry }
        }
        other => other,
    }
}

/// Why another snooze counts as a failure, if it does.
fn exhausted(lifecycle: &Lifecycle, now: Timestamp) -> Option<String> {
    if lifecycle.snoozes >= MAX_SNOOZES {
        return Some(format!(
            "this counts as a failure, because the {MAX_SNOOZES} attempts before it were snoozed, \
             the maximum in sequence"
        ));
    }
    let snoozed = until(lifecycle.snoozed_since?, now);
    (snoozed >= MAX_SNOOZED).then(|| {
        let days = MAX_SNOOZED.as_secs() / DAY_SECONDS;
        format!("this counts as a failure, because the job has been snoozed for {days} days, the maximum")
    })
}

pub(super) const DAY_SECONDS: u64 = 24 * 60 * 60;

/// A wait of at most [`MAX_DELAY`]. If the guest asked for a longer one, the error message notes it.
fn bounded(error: AttemptError, wait: Option<Duration>) -> (AttemptError, Option<Duration>) {
    match wait {
        Some(wait) if wait > MAX_DELAY => {
            let (asked, most) = (wait.as_secs(), MAX_DELAY.as_secs() / DAY_SECONDS);
            let note = format!(
                "it asked for a wait of {asked} s: the job waits for {most} days, the maximum"
            );
            (error.with_note(&note), Some(MAX_DELAY))
        }
        wait => (error, wait),
    }
}
