//! The only decision about trying again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Timestamp, after, until};
use crate::job::{JobSpec, MAX_DELAY};
use crate::lifecycle::Lifecycle;
use crate::limits::Limit;
use crate::outcome::{AttemptError, Outcome, RetryHint};

/// The most attempts that a job may ask for: what Sidekiq and River use as their default.
pub const MAX_ATTEMPTS_CAP: u16 = 25;

/// The attempts of a job that asks for no number: uploaded code tends to fail the same way again.
pub const DEFAULT_MAX_ATTEMPTS: u16 = 5;

/// How often the host may fail to start a job before it is discarded.
pub const MAX_REFUSED: u16 = 10;

/// The longest back-off between two attempts. A wait that the guest names may be longer.
pub const MAX_BACKOFF: Duration = Duration::from_secs(6 * 60 * 60);

/// How often in sequence an attempt may be snoozed; the next one is a failure.
pub const MAX_SNOOZES: u16 = 100;

/// How long a sequence of snoozes may go on; a snooze after that is a failure.
pub const MAX_SNOOZED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The shortest wait of a snooze: snoozes do not count as attempts, and one that asks for no wait at all
/// would run a job again and again without a pause.
pub const MIN_SNOOZE: Duration = Duration::from_secs(1);

/// What is to be written at the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeded.
    Complete,
    /// It failed; try again at that time.
    Retry {
        /// Not before this.
        at: Timestamp,
    },
    /// It asked to be tried again later: the attempt does not count as a failure.
    Snooze {
        /// Not before this.
        at: Timestamp,
    },
    /// It failed for good.
    Discard,
    /// It was cancelled.
    Cancel,
    /// Give it back; the attempt does not count.
    Release {
        /// Not before this.
        at: Timestamp,
        /// Whether the host refused it, which may happen [`MAX_REFUSED`] times.
        refused: bool,
    },
}

/// A kind of ending that may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The guest reported a failure and did not rule out another try.
    Failed,
    /// The guest trapped, or the host panicked under it.
    Trapped,
    /// The time limit.
    Time,
    /// The fuel limit.
    Fuel,
    /// The memory limit.
    Memory,
    /// The output limit.
    Output,
    /// The stack limit.
    Stack,
    /// The limit on table elements.
    Tables,
    /// The limit on resource handles.
    Resources,
}

impl From<Limit> for Cause {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Fuel => Self::Fuel,
            Limit::Time => Self::Time,
            Limit::Memory => Self::Memory,
            Limit::Output => Self::Output,
            Limit::Stack => Self::Stack,
            Limit::Tables => Self::Tables,
            Limit::Resources => Self::Resources,
        }
    }
}

/// Which endings are tried again. By default those that may go better another time: failures,
/// traps and time-outs; the same fuel, memory or output limit would be reached again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RetryPolicy(BTreeSet<Cause>);

impl Default for RetryPolicy {
    fn default() -> Self {
        Self(BTreeSet::from([Cause::Failed, Cause::Trapped, Cause::Time]))
    }
}

impl FromIterator<Cause> for RetryPolicy {
    fn from_iter<I: IntoIterator<Item = Cause>>(causes: I) -> Self {
        Self(causes.into_iter().collect())
    }
}

/// `outcome` of the running attempt as it counts: a snooze is a failure once its sequence is too long,
/// and no wait is longer than [`MAX_DELAY`]. What was changed is in the error's message.
#[must_use]
pub fn settle(lifecycle: &Lifecycle, outcome: Outcome, now: Timestamp) -> Outcome {
    match outcome {
        Outcome::Snoozed { error, wait } => {
            let (error, wait) = bounded(error, wait);
            match exhausted(lifecycle, now) {
                None => Outcome::Snoozed { error, wait },
                Some(why) => {
                    // Not before the usual back-off: the short waits have not helped.
                    let usual = backoff(lifecycle.failures.saturating_add(1), 0.5);
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
             the most in sequence"
        ));
    }
    let snoozed = until(lifecycle.snoozed_since?, now);
    (snoozed >= MAX_SNOOZED).then(|| {
        let days = MAX_SNOOZED.as_secs() / DAY_SECONDS;
        format!("this counts as a failure, because the job is snoozed since {days} days, the most")
    })
}

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// A wait of at most [`MAX_DELAY`]; the error says so if a longer one was asked for.
fn bounded(error: AttemptError, wait: Option<Duration>) -> (AttemptError, Option<Duration>) {
    match wait {
        Some(wait) if wait > MAX_DELAY => {
            let (asked, most) = (wait.as_secs(), MAX_DELAY.as_secs() / DAY_SECONDS);
            let note = format!(
                "it asked for a wait of {asked} s: the job waits for {most} days, the longest"
            );
            (error.with_note(&note), Some(MAX_DELAY))
        }
        wait => (error, wait),
    }
}

/// What to write after `outcome`, [as it counts](settle), of the running attempt. `jitter` is 0 to 1, from the caller, so
/// that the same arguments always give the same verdict.
#[must_use]
pub fn decide(
    spec: &JobSpec,
    lifecycle: &Lifecycle,
    outcome: &Outcome,
    now: Timestamp,
    jitter: f64,
) -> Verdict {
    let retry = |cause: Cause, asked: Option<Duration>| {
        let failures = lifecycle.failures.saturating_add(1);
        if !spec.retry.0.contains(&cause) || failures >= spec.max_attempts {
            return Verdict::Discard;
        }
        let wait = asked.unwrap_or_else(|| backoff(failures, jitter));
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
            let usual = || backoff(lifecycle.snoozes.saturating_add(1), jitter);
            Verdict::Snooze { at: after(now, wait.unwrap_or_else(usual).max(MIN_SNOOZE)) }
        }
        Outcome::Trapped { .. } => retry(Cause::Trapped, None),
        Outcome::LimitExceeded { limit, .. } => retry((*limit).into(), None),
        Outcome::Refused { .. } if lifecycle.refused >= MAX_REFUSED => Verdict::Discard,
        Outcome::Refused { .. } => {
            let wait = backoff(lifecycle.refused.saturating_add(1), jitter);
            Verdict::Release { at: after(now, wait), refused: true }
        }
        // A lost attempt has nobody to finish it; if one is finished as lost all the same, the
        // next host may try.
        Outcome::Interrupted | Outcome::Lost => Verdict::Release { at: now, refused: false },
    }
}

/// How long to wait after the `n`-th failure: `min(n⁴ + 5 s, 6 h)`, spread by ± 20 % so that jobs
/// that failed together do not return together. Sidekiq's and River's shape.
fn backoff(n: u16, jitter: f64) -> Duration {
    let seconds = u64::from(n).saturating_pow(4).saturating_add(5);
    let base = Duration::from_secs(seconds).min(MAX_BACKOFF);
    base.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
