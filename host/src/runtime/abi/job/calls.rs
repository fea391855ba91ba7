//! The request of a typed job, and the meaning of its errors.

use std::time::Duration;

use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::{AttemptError, RetryHint};

use super::super::super::ending::GuestResult;
use super::super::environment::variables;
use super::bindings::jobwright::job::types;

/// The result of a guest that returned an error.
pub(super) fn failed(error: types::Error) -> GuestResult {
    let (message, retry) = match error {
        types::Error::Permanent(message) => (message, RetryHint::Never),
        types::Error::Retry(types::Retry { message, delay_ms }) => {
            let after = |ms| RetryHint::After(Duration::from_millis(ms));
            (message, delay_ms.map_or(RetryHint::Backoff, after))
        }
        types::Error::Later(types::Later { message, delay_ms }) => {
            let wait = delay_ms.map(Duration::from_millis);
            return GuestResult::Later { error: AttemptError::new("later", message), wait };
        }
    };
    GuestResult::Failed { error: AttemptError::new("failed", message), retry }
}

/// The request that a guest gets.
pub(super) fn request(attempt: &Attempt) -> types::Request {
    let (job, spec) = (&attempt.job, &attempt.job.spec);
    let tries = job.attempt_counts();
    types::Request {
        payload: types::Payload {
            content_type: attempt.payload.content_type.clone(),
            bytes: attempt.payload.bytes.to_vec(),
        },
        job: types::Metadata {
            id: job.id.to_string(),
            attempt: tries.attempt,
            max_attempts: tries.last_attempt,
            queue: spec.queue.to_string(),
            plugin: format!("{}@{}", spec.plugin, spec.version),
            created_at_ms: u64::try_from(job.created_at.as_millisecond()).unwrap_or_default(),
            tags: spec.tags.clone(),
            args: spec.args.clone(),
            env: variables(attempt).into_iter().collect(),
            failures: tries.failures.into(),
            attempts_left: tries.left.into(),
        },
    }
}
