//! The meaning of exit codes.

use jobwright_core::attempt::Attempt;
use jobwright_core::exit_codes::Meaning;
use jobwright_core::outcome::{AttemptError, RetryHint};
use wasmtime::Error;
use wasmtime_wasi::I32Exit;

use super::evidence::{Evidence, last_words};
use super::guest_result::{Abort, GuestResult};

/// The result of a command that returned, which is the same as exit code 0.
pub(in super::super) fn returned(attempt: &Attempt) -> Result<GuestResult, Abort> {
    match attempt.job.spec.exit_codes.meaning(0) {
        None | Some(Meaning::Succeed) => Ok(GuestResult::Done { content_type: None }),
        Some(_) => Err(Abort::Failed(I32Exit(0).into())),
    }
}

/// Whether the guest exited with `code`.
pub(in super::super) fn is_exit(error: &Error, code: i32) -> bool {
    error.downcast_ref().is_some_and(|I32Exit(exit)| *exit == code)
}

/// The result of a guest that exits with `code`: by its plugin's settings, else by BSD's
/// `sysexits.h`.
pub(super) fn exited(code: i32, evidence: &Evidence<'_>) -> GuestResult {
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
    result_of_meaning(meaning, AttemptError::new("exit_code", message))
}

/// The result of a guest whose exit code has this meaning, with this error if it is no success.
pub(in super::super) fn result_of_meaning(meaning: Meaning, error: AttemptError) -> GuestResult {
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
        // The exit code of old C libraries that fail to read the environment variables.
        71 => " (operating system error)",
        75 => " (temporary failure)",
        78 => " (configuration error)",
        _ => "",
    }
}
