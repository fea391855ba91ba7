//! Retries: the verdict on an attempt that ended, from its outcome and the job's policy.
//!
//! A request to cancel, and a lost attempt, change what follows: see
//! [`Lifecycle`](crate::job::lifecycle::Lifecycle).
//!
//! | module | owns |
//! |---|---|
//! | [`policy`] | which endings are tried again |
//! | [`snooze`] | bounds on what the guest asks for |
//! | [`decision`] | the verdict |
//! | [`backoff`] | how long a job waits before its next attempt |

pub mod backoff;
pub mod decision;
pub mod policy;
pub mod snooze;

pub use self::backoff::{
    Backoff, BackoffFault, Curve, DEFAULT_JITTER_PERCENT, MAX_BACKOFF, MAX_FACTOR,
};
pub use self::decision::{MAX_REFUSED, MIN_SNOOZE, decide};
pub use self::policy::{Cause, DEFAULT_MAX_ATTEMPTS, MAX_ATTEMPTS_CAP, RetryPolicy};
pub use self::snooze::{MAX_SNOOZED, MAX_SNOOZES, settle};

#[cfg(test)]
mod tests;
