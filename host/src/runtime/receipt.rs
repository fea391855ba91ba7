//! How an attempt's task ended, with the receipt: also when the task did not run to its end.

use std::any::Any;

use jobwright_core::log::{LogBuffer, LogSnapshot};
use jobwright_core::outcome::{AttemptError, Outcome, Usage};
use jobwright_core::runtime::Ended;
use tokio::task::JoinError;

/// The error code of an attempt during which the host panicked.
pub(super) const HOST_PANIC: &str = "host_panic";

/// The error code of an attempt whose process ended before it did.
pub(crate) const PROCESS_DIED: &str = "process_died";

/// The end of an attempt's task, with the fields of the receipt that the host itself knows: the
/// length of the payload, and the stored length of the log.
pub(super) fn complete(
    joined: Result<Ended, JoinError>,
    payload_bytes: u64,
    log: &LogBuffer,
) -> Ended {
    let mut ended = joined.unwrap_or_else(|error| without_usage(not_joined(error)));
    let usage = &mut ended.usage;
    usage.payload_bytes = payload_bytes;
    (usage.log_bytes, usage.log_dropped_bytes) = log_counts(log);
    ended
}

/// How many bytes of a log were kept and dropped.
fn log_counts(log: &LogBuffer) -> (u64, u64) {
    if log.written() == 0 {
        return (0, 0); // as for most jobs, without a copy of the log
    }
    let LogSnapshot { kept_bytes, dropped_bytes, .. } = log.snapshot();
    (kept_bytes, dropped_bytes)
}

/// The end of an attempt for which nothing was measured.
pub(super) fn without_usage(outcome: Outcome) -> Ended {
    Ended::new(outcome, Usage::default())
}

/// The outcome of an attempt whose task panicked, or was aborted because its threads were stopped.
fn not_joined(error: JoinError) -> Outcome {
    match error.try_into_panic() {
        Ok(panic) => panicked(panic.as_ref()),
        Err(_) => Outcome::Interrupted,
    }
}

/// The outcome of an attempt during which the host panicked.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let reason = text.unwrap_or("no reason given");
    let error = AttemptError::new(HOST_PANIC, format!("the host panicked: {reason}"));
    Outcome::Trapped { error }
}

#[cfg(test)]
mod tests {
    use super::super::guests::Guests;
    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_host_is_an_outcome() {
        let guests = Guests::start(1).expect("threads");
        let joined = guests.run(async { panic!("table {} is torn", 7) }).await;
        let Outcome::Trapped { error } = not_joined(joined.expect_err("a panic")) else {
            panic!("another outcome");
        };
        assert_eq!(error.code, "host_panic");
        assert_eq!(error.message, "the host panicked: table 7 is torn");
    }

    #[tokio::test]
    async fn stopping_the_threads_interrupts_their_guests() {
        let guests = Guests::start(1).expect("threads");
        let waiting = guests.run(std::future::pending::<()>());
        drop(guests);
        let error = waiting.await.expect_err("the threads are gone");
        assert_eq!(not_joined(error), Outcome::Interrupted);
    }
}
