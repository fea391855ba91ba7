//! What an ending means: from what wasmtime says, and what the host remembers, to an [`Outcome`].
//!
//! Pure. Invariant, in this order: what the host decided (stop, time); what the guest itself answered (an exit
//! code, a status, an error), whatever it was refused before; a limit that ended it (output, fuel, stack,
//! resources); memory that the host itself did not get; a refusal of memory or tables that the guest did not
//! survive; an exception that its language's runtime printed; a trap.

use std::time::Duration;

use jobwright_core::attempt::Attempt;
use jobwright_core::exit_codes::Meaning;
use jobwright_core::limits::{Limit, Limits, show_bytes};
use jobwright_core::outcome::{AttemptError, Outcome, Output, RetryHint};
use jobwright_core::runtime::StopReason;
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::{I32Exit, ResourceTableError};

use super::limiter::{Refusal, is_starved};
use super::meter::StopCause;
use super::stdio::OutputBuffer;
use super::{exception, trap, words};

/// The code of an attempt for which the host got no memory.
pub(super) const HOST_MEMORY: &str = "host_memory";

/// What a guest said by coming to its end.
#[derive(Debug)]
pub(super) enum GuestResult {
    /// Its output is whole.
    Done {
        /// The media type of the output, if the guest named one.
        content_type: Option<String>,
    },
    /// It failed.
    Failed {
        /// In its own words.
        error: AttemptError,
        /// What it asks for.
        retry: RetryHint,
    },
    /// It asked to be tried again later, which is no failure.
    Later {
        /// In its own words.
        error: AttemptError,
        /// How long from now; absent for the usual back-off.
        wait: Option<Duration>,
    },
}

/// Why a guest did not come to its end.
#[derive(Debug)]
pub(super) enum Abort {
    /// The host stopped it.
    Stopped(StopCause),
    /// It trapped, exited, or could not be made.
    Failed(Error),
}

impl From<StopCause> for Abort {
    fn from(cause: StopCause) -> Self {
        Self::Stopped(cause)
    }
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What the host remembers of an attempt that ended.
pub(super) struct Evidence<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) refused: Option<Refusal>,
    /// Whether the system refused memory that the guest may have.
    pub(super) starved: bool,
    pub(super) output: &'a OutputBuffer,
    /// The media type of the output, if the guest named one apart from its answer.
    pub(super) output_type: Option<String>,
    /// What the guest's own calls could take of the stack, in bytes.
    pub(super) stack_bytes: usize,
    /// Why the guest was told to stop, if it was and had a grace to end by itself.
    pub(super) stopped: Option<StopReason>,
}

/// The end of a command that returned, which is to exit with 0.
pub(super) fn returned(attempt: &Attempt) -> Result<GuestResult, Abort> {
    match attempt.job.spec.exit_codes.meaning(0) {
        None | Some(Meaning::Succeed) => Ok(GuestResult::Done { content_type: None }),
        Some(_) => Err(Abort::Failed(I32Exit(0).into())),
    }
}

/// What an attempt has left that did not succeed: marked as such, it may tell why.
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

/// What `ending` means.
pub(super) fn outcome(ending: Result<GuestResult, Abort>, evidence: &Evidence<'_>) -> Outcome {
    match (answered(ending, evidence), evidence.stopped) {
        (Err(Abort::Stopped(cause)), _) => stopped_by(cause, &evidence.attempt.limits),
        // How it failed then is how it stopped.
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

/// An exit is what the guest says by its code.
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

/// Whether the guest exited with `code`.
pub(super) fn is_exit(error: &Error, code: i32) -> bool {
    error.downcast_ref().is_some_and(|I32Exit(exit)| *exit == code)
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
        StopReason::Interrupted | StopReason::SwitchedOff => Outcome::Interrupted,
    }
}

/// The output is of the type that the plugin's settings fix, else that the guest named, else that
/// its bytes show.
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
    // One that is about memory is explained by what was refused.
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

/// What the guest said before it trapped often tells more than the trap.
fn with_words(trap: AttemptError, evidence: &Evidence<'_>) -> AttemptError {
    match last_words(evidence) {
        Some(line) => AttemptError::new(&trap.code, format!("{}: {line}", trap.message)),
        None => trap,
    }
}

/// The exception that a language's runtime ended the guest for, in the line that names it.
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

/// Handles are counted twice: what the host keeps for them, and a component's own table of them, of
/// which wasmtime says it in words only.
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

/// What growth was refused, if none has succeeded since: perhaps that is why the guest failed. What it says
/// in its own words alone stays as it is.
fn with_refusal(error: AttemptError, evidence: &Evidence<'_>) -> AttemptError {
    match evidence.refused {
        Some(refusal) if matches!(error.code.as_str(), "exit_code" | "http_status") => {
            let refused = refusal_message(refusal, &evidence.attempt.limits);
            AttemptError::new(&error.code, format!("{} ({refused})", error.message))
        }
        _ => error,
    }
}

/// The exception for which a request handler answered an error without a body, if one was printed.
fn with_exception(error: AttemptError, evidence: &Evidence<'_>) -> AttemptError {
    if error.code != "http_status" || evidence.output.tried() > 0 {
        return error;
    }
    match exception::of_handler(&evidence.attempt.log.snapshot().bytes) {
        Some(line) => AttemptError::new(&error.code, format!("{}: {line}", error.message)),
        None => error,
    }
}

/// The host got no memory for what the guest may have: no fault of the guest.
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

/// What a guest says that exits with `code`: what its plugin's settings say of it, else what it is in
/// BSD's `sysexits.h`.
fn exited(code: i32, evidence: &Evidence<'_>) -> GuestResult {
    let set = evidence.attempt.job.spec.exit_codes.meaning(code);
    let usual = match code {
        0 => Meaning::Succeed,
        64 | 65 => Meaning::Fail,
        _ => Meaning::Retry,
    };
    let meaning = set.unwrap_or(usual);
    if meaning == Meaning::Succeed {
        return GuestResult::Done { content_type: None };
    }
    let words = set.map_or_else(|| in_words(code), |_| "");
    let mut message = format!("exited with {code}{words}");
    if let Some(line) = last_words(evidence) {
        message.push_str(": ");
        message.push_str(&line);
    }
    said(meaning, AttemptError::new("exit_code", message))
}

/// What a guest says with a code of this meaning, for this reason if it is no success.
pub(super) fn said(meaning: Meaning, error: AttemptError) -> GuestResult {
    match meaning {
        Meaning::Succeed => GuestResult::Done { content_type: None },
        Meaning::Retry => GuestResult::Failed { error, retry: RetryHint::Backoff },
        Meaning::Fail => GuestResult::Failed { error, retry: RetryHint::Never },
        Meaning::Snooze => GuestResult::Later { error, wait: None },
    }
}

/// A code of `sysexits.h` in words.
fn in_words(code: i32) -> &'static str {
    match code {
        64 => " (usage error)",
        65 => " (data error)",
        66 => " (no input)",
        69 => " (service unavailable)",
        70 => " (internal error)",
        // What old C libraries exit with that cannot take the host's variables.
        71 => " (operating system error)",
        75 => " (temporary failure)",
        78 => " (configuration error)",
        _ => "",
    }
}

/// The line that most likely says why the guest ended.
fn last_words(evidence: &Evidence<'_>) -> Option<String> {
    /// Far more than is shown of a line.
    const OUTPUT_BYTES: usize = 4096;
    let log = &evidence.attempt.log;
    let log = if log.written() == 0 { vec![] } else { log.snapshot().bytes };
    words::last(&log, &evidence.output.end(OUTPUT_BYTES))
}
