//! The deadline of a job, which cuts the time limit of its attempts. Pure.

use jobwright_core::clock::{Timestamp, until};
use jobwright_core::job::{Job, Verdict};
use jobwright_core::limits::{Limit, Limits};
use jobwright_core::outcome::{AttemptError, Outcome};

/// The limits of an attempt at `job` that begins at `now`: those that are `allowed`, with a time limit that
/// ends at the deadline. The time limit is 0 if the deadline has passed: then no guest is started.
pub(super) fn cut(job: &Job, allowed: Limits, now: Timestamp) -> Limits {
    let Some(end_by) = job.lifecycle.end_by else { return allowed };
    // Rounded up: the deadline has passed when the time limit is reached.
    let left = until(now, end_by).as_micros().div_ceil(1000);
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    Limits { timeout_ms: allowed.timeout_ms.min(left), ..allowed }
}

/// The outcome of an attempt that reached its time limit.
pub(super) fn out_of_time() -> Outcome {
    let error = AttemptError::new("time", "reached its time limit");
    Outcome::LimitExceeded { limit: Limit::Time, error }
}

/// The verdict on an attempt at `job` that the deadline ended; its error says so from then on. `None` if
/// something else ended it: its `limits` are those that were `allowed`, or it did not reach its time limit.
pub(super) fn verdict(
    job: &Job,
    outcome: &mut Outcome,
    limits: &Limits,
    allowed: &Limits,
) -> Option<Verdict> {
    let end_by = job.lifecycle.end_by?;
    let Outcome::LimitExceeded { limit: Limit::Time, error } = outcome else { return None };
    if limits.timeout_ms >= allowed.timeout_ms {
        return None;
    }
    let message = format!(
        "reached the deadline of the job, {} ms after its submission, which left this attempt {} ms of its \
         time limit of {} ms: raise `deadline_ms`",
        job.spec.deadline_ms.unwrap_or_default(),
        limits.timeout_ms,
        allowed.timeout_ms
    );
    let backtrace = error.backtrace.take();
    *error = AttemptError { backtrace, ..AttemptError::new("deadline", message) };
    // The store waits for no attempt that would begin at the deadline, and discards the job.
    Some(Verdict::Retry { at: end_by })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jobwright_core::clock::after;
    use jobwright_core::job::{JobId, JobSpec, Lifecycle};
    use jobwright_core::plugin::Digest;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// A job whose deadline is so many microseconds from [`NOW`].
    fn job(left: Option<u64>) -> Job {
        let (plugin, version) = ("p".parse().unwrap(), "1.0.0".parse().unwrap());
        let end_by = left.map(|left| after(NOW, Duration::from_micros(left)));
        Job {
            id: JobId::from_bytes([0; 16]),
            spec: Arc::new(JobSpec::new(plugin, version, Digest::of(b""))),
            created_at: NOW,
            lifecycle: Lifecycle { end_by, ..Lifecycle::new(NOW) },
            attempts: vec![],
            output: None,
            progress: None,
        }
    }

    #[test]
    fn the_time_limit_ends_at_the_deadline_and_not_before() {
        let allowed = Limits { timeout_ms: 5, ..Limits::DEFAULT };
        let cut = |left| cut(&job(left), allowed, NOW).timeout_ms;
        assert_eq!([None, Some(9_000), Some(5_000)].map(cut), [5, 5, 5]);
        assert_eq!([Some(4_001), Some(4_000), Some(1), Some(0)].map(cut), [5, 4, 1, 0]);
    }

    #[test]
    fn a_time_limit_of_the_attempt_itself_is_not_the_deadline() {
        let allowed = Limits { timeout_ms: 5, ..Limits::DEFAULT };
        let verdict = |left, outcome: &mut Outcome| {
            let limits = cut(&job(left), allowed, NOW);
            verdict(&job(left), outcome, &limits, &allowed)
        };
        assert_eq!(verdict(None, &mut out_of_time()), None);
        assert_eq!(verdict(Some(5_000), &mut out_of_time()), None);
        assert_eq!(verdict(Some(4_000), &mut Outcome::Cancelled), None);
        let mut outcome = out_of_time();
        let at = after(NOW, Duration::from_millis(4));
        assert_eq!(verdict(Some(4_000), &mut outcome), Some(Verdict::Retry { at }));
        assert_eq!(outcome.error().map(|error| &*error.code), Some("deadline"));
    }
}
