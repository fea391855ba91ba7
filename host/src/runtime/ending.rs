//! What an ending means: from what wasmtime says, and what the host remembers, to an [`Outcome`].
//!
//! Pure. Invariant, in this order: what the host decided (stop, time, output), a limit that wasmtime
//! enforced (fuel, stack, resources), memory that the host itself did not get, a refusal of memory or
//! tables that the guest did not survive, and only then what the guest itself said.

use jobwright_core::attempt::Attempt;
use jobwright_core::limits::{Fuel, Limit, Limits, show_bytes};
use jobwright_core::name::shorten;
use jobwright_core::outcome::{AttemptError, Outcome, Output, RetryHint};
use jobwright_core::runtime::StopReason;
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::{I32Exit, ResourceTableError};

use super::engine::GUEST_STACK_BYTES;
use super::limiter::{Refusal, is_starved};
use super::meter::Halt;
use super::stdio::OutputBuffer;
use super::trap;

/// What a guest said by coming to its end.
#[derive(Debug)]
pub(super) enum Said {
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
}

/// Why a guest did not come to its end.
#[derive(Debug)]
pub(super) enum Cut {
    /// The host stopped it.
    Halted(Halt),
    /// It trapped, exited, or could not be made.
    Failed(Error),
}

impl From<Halt> for Cut {
    fn from(halt: Halt) -> Self {
        Self::Halted(halt)
    }
}

impl From<Error> for Cut {
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
    /// Why the guest was told to stop, if it was and had a grace to end by itself.
    pub(super) stopped: Option<StopReason>,
}

/// What `ending` means.
pub(super) fn outcome(ending: Result<Said, Cut>, evidence: &Evidence<'_>) -> Outcome {
    match (ending, evidence.stopped) {
        (Err(Cut::Halted(halt)), _) => halted(halt, &evidence.attempt.limits),
        // How it failed then is how it stopped.
        (Err(Cut::Failed(error)), Some(reason)) if !is_exit(&error, 0) => stopped(reason),
        (Ok(Said::Failed { .. }), Some(reason)) => stopped(reason),
        _ if evidence.output.exceeded() => output_exceeded(evidence),
        (Err(Cut::Failed(error)), _) => failed(&error, evidence),
        (Ok(Said::Done { content_type }), _) => succeeded(content_type.as_deref(), evidence),
        (Ok(Said::Failed { .. }), _) if evidence.starved => starved("growth was refused"),
        (Ok(Said::Failed { error, retry }), _) => match evidence.refused {
            Some(refusal) => refused(refusal, &evidence.attempt.limits),
            None => Outcome::Failed { error, retry },
        },
    }
}

/// Whether the guest exited with `code`.
pub(super) fn is_exit(error: &Error, code: i32) -> bool {
    error.downcast_ref().is_some_and(|I32Exit(exit)| *exit == code)
}

/// The host stopped the guest.
fn halted(halt: Halt, limits: &Limits) -> Outcome {
    match halt {
        Halt::Stopped(reason) => stopped(reason),
        Halt::Deadline => {
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
    let declared = evidence.attempt.job.spec.output_type.as_deref().or(named);
    Outcome::Succeeded { output: Output::new(evidence.output.take_bytes(), declared) }
}

fn failed(error: &Error, evidence: &Evidence<'_>) -> Outcome {
    let limits = &evidence.attempt.limits;
    let exit = error.downcast_ref::<I32Exit>();
    if let Some(I32Exit(0)) = exit {
        return succeeded(None, evidence);
    }
    if let Some((limit, message)) = enforced(error, limits) {
        return with_frames(exceeded(limit, message), error);
    }
    if evidence.starved || is_starved(error) {
        return starved(&error.root_cause().to_string());
    }
    if let Some(refusal) = evidence.refused {
        return with_frames(refused(refusal, limits), error);
    }
    match exit {
        Some(I32Exit(code)) => exited(*code, evidence),
        None => with_frames(Outcome::Trapped { error: trap::describe(error) }, error),
    }
}

/// The limit that wasmtime itself enforced.
pub(super) fn enforced(error: &Error, limits: &Limits) -> Option<(Limit, String)> {
    if is_out_of_handles(error) {
        let message = format!("resource limit {} handles exceeded", limits.resources);
        return Some((Limit::Resources, message));
    }
    match (error.downcast_ref::<Trap>()?, limits.fuel) {
        (Trap::OutOfFuel, Fuel::Units(units)) => {
            Some((Limit::Fuel, format!("fuel limit {units} exceeded")))
        }
        (Trap::StackOverflow, _) => {
            let most = show_bytes(GUEST_STACK_BYTES as u64);
            Some((Limit::Stack, format!("stack limit {most} exceeded")))
        }
        _ => None,
    }
}

/// Handles are counted twice: what the host keeps for them, and a component's own table of them, of
/// which wasmtime says it in words only.
fn is_out_of_handles(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(ResourceTableError::Full))
        || error.root_cause().to_string().contains("store handle limit exceeded")
}

fn refused(refusal: Refusal, limits: &Limits) -> Outcome {
    let Refusal { limit, wanted } = refusal;
    let message = match limit {
        Limit::Tables => format!(
            "tables limit {} elements exceeded: growth to {wanted} elements was refused",
            limits.tables
        ),
        _ => format!(
            "memory limit {} exceeded: growth to {} was refused",
            show_bytes(limits.memory_bytes),
            show_bytes(wanted)
        ),
    };
    exceeded(limit, message)
}

/// The host got no memory for what the guest may have: no fault of the guest.
fn starved(cause: &str) -> Outcome {
    let message = format!("the host has no memory for the guest: {cause}");
    Outcome::Refused { error: AttemptError::new("host_memory", message), transient: true }
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
    Outcome::LimitExceeded { limit, error: AttemptError::new(&limit.to_string(), message) }
}

fn with_frames(mut outcome: Outcome, source: &Error) -> Outcome {
    if let Outcome::Trapped { error } | Outcome::LimitExceeded { error, .. } = &mut outcome
        && let Some(frames) = source.downcast_ref::<WasmBacktrace>()
    {
        *error = error.clone().with_backtrace(trap::show_frames(frames));
    }
    outcome
}

/// The guest said so itself, in the codes of BSD's `sysexits.h`.
fn exited(code: i32, evidence: &Evidence<'_>) -> Outcome {
    let (meaning, retry) = match code {
        64 => (" (usage error)", RetryHint::Never),
        65 => (" (data error)", RetryHint::Never),
        66 => (" (no input)", RetryHint::Backoff),
        69 => (" (service unavailable)", RetryHint::Backoff),
        70 => (" (internal error)", RetryHint::Backoff),
        75 => (" (temporary failure)", RetryHint::Backoff),
        78 => (" (configuration error)", RetryHint::Backoff),
        _ => ("", RetryHint::Backoff),
    };
    let mut message = format!("exited with {code}{meaning}");
    if let Some(line) = last_line(&evidence.attempt.log.snapshot().bytes) {
        message.push_str(": ");
        message.push_str(&line);
    }
    Outcome::Failed { error: AttemptError::new("exit_code", message), retry }
}

/// The last line of a log that says something.
fn last_line(log: &[u8]) -> Option<String> {
    let line = log.rsplit(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    // Four bytes hold any character, and 80 of them are shown.
    let shown = &line.trim_ascii()[..line.trim_ascii().len().min(4 * 81)];
    Some(shorten(&String::from_utf8_lossy(shown)))
}

#[cfg(test)]
mod tests {
    use super::last_line;

    #[test]
    fn the_last_line_that_says_something_is_shown() {
        assert_eq!(last_line(b""), None);
        assert_eq!(last_line(b"\n \n"), None);
        assert_eq!(last_line(b"one\ntwo\r\n\n").as_deref(), Some("two"));
        assert_eq!(last_line(b"a\x1b[31m").as_deref(), Some("a\\u{1b}[31m"));
    }
}
