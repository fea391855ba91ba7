//! The [`Outcome`] of an attempt: determined by the guest's result or wasmtime's error, and by the
//! [`evidence`] that the host has. Pure. Invariant, the order of precedence: the host's decision
//! (stop, time); the guest's own result (an [`exit`] code, a status, an error), even if it was
//! refused memory before; a limit that ended it (output, fuel, stack, resources); memory that the
//! system refused to the host; a refusal of memory or tables that the guest did not survive; an
//! exception that its language's runtime printed; a trap.

mod evidence;
mod exit;
mod guest_result;

use jobwright_core::limits::{Limit, Limits, show_bytes};
use jobwright_core::outcome::{AttemptError, Outcome, Output, RetryHint};
use jobwright_core::runtime::StopReason;
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::{I32Exit, ResourceTableError};

pub(super) use self::evidence::Evidence;
use self::evidence::last_words;
use self::exit::exited;
pub(super) use self::exit::{is_exit, result_of_meaning, returned};
pub(super) use self::guest_result::{Abort, GuestResult};
use super::limiter::{Refusal, is_starved};
use super::meter::StopCause;
use super::{exception, trap};

/// The error code of an attempt for which the system refused memory to the host.
pub(super) const HOST_MEMORY: &str = "host_memory";

/// The output of an attempt that did not succeed. It is kept, marked as such, because it may show
/// the cause.
pub(super) fn failed_output(outcome: &Outcome, evidence: &Evidence<'_>) -> Option<Output> {
    match outcome {
        Outcome::Failed { .. }
        | Outcome::Snoozed { .. }
        | Outcome::Trapped { .. }
        | Outcome::LimitExceeded { .. }
        | Outcome::Cancelled => {}
        Outcome::Succeeded { .. }
        | Outcome::Interrupted
        | Outcome::Refused { .. }
        | Outcome::Lost => return None,
    }
    let mut bytes = evidence.output.take_bytes();
    if evidence.output.exceeded()
        && let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        // Text is cut between characters.
        bytes.truncate(error.valid_up_to());
    }
    (!bytes.is_empty()).then(|| Output::new(bytes, evidence.output_type.as_deref()))
}

/// The outcome of an attempt with this `ending`.
pub(super) fn outcome(ending: Result<GuestResult, Abort>, evidence: &Evidence<'_>) -> Outcome {
    match (answered(ending, evidence), evidence.stopped) {
        (Err(Abort::Stopped(cause)), _) => stopped_by(cause, &evidence.attempt.limits),
        // A failure after the stop signal counts as the stop.
        (Err(Abort::Failed(_)), Some(reason)) => stopped(reason),
        (Ok(GuestResult::Failed { .. } | GuestResult::Later { .. }), Some(reason)) => {
            stopped(reason)
        }
        (Ok(GuestResult::Later { error, wait }), _) => Outcome::Snoozed { error, wait },
        (Ok(GuestResult::Failed { error, retry }), _) => {
            let error = with_refusal(with_exception(error, evidence), evidence);
            Outcome::Failed { error, retry }
        }
        _ if evidence.output.exceeded() => output_exceeded(evidence),
        (Err(Abort::Failed(error)), _) => failed(&error, evidence),
        (Ok(GuestResult::Done { content_type }), _) => succeeded(content_type.as_deref(), evidence),
    }
}

/// The outcome of an exit code is that of the guest's result.
fn answered(
    ending: Result<GuestResult, Abort>,
    evidence: &Evidence<'_>,
) -> Result<GuestResult, Abort> {
    let code = match &ending {
        Err(Abort::Failed(error)) => error.downcast_ref().map(|I32Exit(code)| *code),
        _ => None,
    };
    code.map_or(ending, |code| Ok(exited(code, evidence)))
}

/// Whether the guest failed by itself: it trapped, or exited with another code than 0, and no limit ended it.
pub(super) fn is_own(error: &Error) -> bool {
    !is_exit(error, 0) && enforced(error).is_none() && !is_starved(error)
}

/// The host stopped the guest.
fn stopped_by(cause: StopCause, limits: &Limits) -> Outcome {
    match cause {
        StopCause::Stopped(reason) => stopped(reason),
        StopCause::Deadline => {
            exceeded(Limit::Time, format!("time limit {} ms exceeded", limits.timeout_ms))
        }
    }
}

/// The signal was raised.
pub(super) fn stopped(reason: StopReason) -> Outcome {
    match reason {
        StopReason::Cancelled => Outcome::Cancelled,
        StopReason::Interrupted | StopReason::Disabled => Outcome::Interrupted,
    }
}

/// The media type of the output is that of the plugin's settings, else the one that the guest
/// named, else the one detected from the bytes.
fn succeeded(named: Option<&str>, evidence: &Evidence<'_>) -> Outcome {
    let named = named.or(evidence.output_type.as_deref());
    let declared = evidence.attempt.job.spec.output_type.as_deref().or(named);
    Outcome::Succeeded { output: Output::new(evidence.output.take_bytes(), declared) }
}

fn failed(error: &Error, evidence: &Evidence<'_>) -> Outcome {
    let limits = &evidence.attempt.limits;
    if let Some(limit) = enforced(error) {
        return with_frames(exceeded(limit, enforced_message(limit, evidence)), error);
    }
    if evidence.starved || is_starved(error) {
        return starved(&error.root_cause().to_string());
    }
    let exception = exception(error, evidence);
    // A failure that is about memory is explained by the refused growth.
    let is_of_memory =
        |line: &String| line.starts_with("MemoryError") || line.contains("out of memory");
    if let Some(refusal) = evidence.refused
        && exception.as_ref().is_none_or(is_of_memory)
    {
        return with_frames(exceeded(refusal.limit, refusal_message(refusal, limits)), error);
    }
    if let Some(line) = exception {
        let error = AttemptError::new("exception", line);
        return Outcome::Failed { error, retry: RetryHint::Backoff };
    }
    with_frames(Outcome::Trapped { error: with_words(trap::describe(error), evidence) }, error)
}

/// The last line that the guest wrote often explains more than the trap.
fn with_words(trap: AttemptError, evidence: &Evidence<'_>) -> AttemptError {
    match last_words(evidence) {
        Some(line) => AttemptError::new(&trap.code, format!("{}: {line}", trap.message)),
        None => trap,
    }
}

/// The line that names the exception for which a language's runtime ended the guest.
fn exception(error: &Error, evidence: &Evidence<'_>) -> Option<String> {
    match error.downcast_ref() {
        Some(Trap::UnreachableCodeReached) => {
            exception::named(&evidence.attempt.log.snapshot().bytes)
        }
        _ => None,
    }
}

/// The limit that wasmtime itself enforced.
pub(super) fn enforced(error: &Error) -> Option<Limit> {
    match error.downcast_ref() {
        _ if is_out_of_handles(error) => Some(Limit::Resources),
        Some(Trap::OutOfFuel) => Some(Limit::Fuel),
        Some(Trap::StackOverflow) => Some(Limit::Stack),
        _ => None,
    }
}

fn enforced_message(limit: Limit, evidence: &Evidence<'_>) -> String {
    let Limits { fuel, resources, .. } = evidence.attempt.limits;
    match limit {
        Limit::Fuel => format!("fuel limit {fuel} exceeded"),
        Limit::Stack => {
            format!("stack limit {} exceeded", show_bytes(evidence.stack_bytes as u64))
        }
        _ => format!("resource limit {resources} handles exceeded"),
    }
}

/// Handles are limited in two tables: the host's, and a component's own, whose error wasmtime
/// reports as text only.
fn is_out_of_handles(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(ResourceTableError::Full))
        || error.root_cause().to_string().contains("store handle limit exceeded")
}

fn refusal_message(Refusal { limit, wanted }: Refusal, limits: &Limits) -> String {
    match limit {
        Limit::Tables => format!(
            "tables limit {} elements exceeded: growth to {wanted} elements was refused",
            limits.tables
        ),
        _ => format!(
            "memory limit {} exceeded: growth to {} was refused",
            show_bytes(limits.memory_bytes),
            show_bytes(wanted)
        ),
    }
}

/// Adds the refused growth to the error, if none has succeeded since: it may be the cause of the
/// failure. An error of the guest's own result is not changed.
fn with_refusal(error: AttemptError, evidence: &Evidence<'_>) -> AttemptError {
    match evidence.refused {
        Some(refusal) if matches!(error.code.as_str(), "exit_code" | "http_status") => {
            let refused = refusal_message(refusal, &evidence.attempt.limits);
            AttemptError::new(&error.code, format!("{} ({refused})", error.message))
        }
        _ => error,
    }
}

/// Adds the printed exception for which a request handler responded with an error without a body.
fn with_exception(error: AttemptError, evidence: &Evidence<'_>) -> AttemptError {
    if error.code != "http_status" || evidence.output.tried() > 0 {
        return error;
    }
    match exception::of_handler(&evidence.attempt.log.snapshot().bytes) {
        Some(line) => AttemptError::new(&error.code, format!("{}: {line}", error.message)),
        None => error,
    }
}

/// The system refused memory that the guest may have: the guest is not at fault.
fn starved(cause: &str) -> Outcome {
    let message = format!("the host has no memory for the guest: {cause}");
    Outcome::Refused { error: AttemptError::new(HOST_MEMORY, message), transient: true }
}

fn output_exceeded(evidence: &Evidence<'_>) -> Outcome {
    let message = format!(
        "output limit {} exceeded: at least {} were written",
        show_bytes(evidence.attempt.limits.output_bytes),
        show_bytes(evidence.output.tried())
    );
    exceeded(Limit::Output, message)
}

fn exceeded(limit: Limit, message: String) -> Outcome {
    Outcome::exceeded(limit, message)
}

fn with_frames(mut outcome: Outcome, source: &Error) -> Outcome {
    if let Outcome::Trapped { error } | Outcome::LimitExceeded { error, .. } = &mut outcome
        && let Some(frames) = source.downcast_ref::<WasmBacktrace>()
    {
        *error = error.clone().with_backtrace(trap::show_frames(frames));
    }
    outcome
}
