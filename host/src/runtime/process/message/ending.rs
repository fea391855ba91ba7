//! Validates what a runner reports about the end of an attempt. A runner may be controlled by a guest that
//! broke out of its sandbox: it may harm its own job, and nothing else.

use std::time::Duration;

use jobwright_core::limits::{Fuel, Limits};
use jobwright_core::outcome::{AttemptError, Outcome, Usage, is_media_type, millis};
use jobwright_core::runtime::{Ended, StopReason};

use super::super::super::ending::{HOST_MEMORY, stopped};

/// The facts about the attempt that the host knows by itself.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Asked<'a> {
    /// The limits of the attempt.
    pub(in super::super) limits: &'a Limits,
    /// Why the host told the attempt to end, if it did.
    pub(in super::super) stop: Option<StopReason>,
    /// How long the attempt took, by the host's clock.
    pub(in super::super) elapsed: Duration,
}

/// The reported end of an attempt, or the part of it that cannot be true.
pub(in super::super) fn believed(
    mut ended: Ended,
    asked: Asked<'_>,
) -> Result<Ended, &'static str> {
    check_usage(&ended.usage, asked)?;
    let limits = asked.limits;
    let succeeded = match &ended.outcome {
        Outcome::Succeeded { output } => Some(output),
        _ => None,
    };
    for output in succeeded.into_iter().chain(&ended.failed_output) {
        if output.bytes.len() as u64 > limits.output_bytes {
            return Err("an output over its limit");
        }
        if !is_media_type(&output.content_type) {
            return Err("an output without a media type");
        }
    }
    match &mut ended.outcome {
        // A released job is tried again at once, without being counted as an attempt.
        Outcome::Interrupted | Outcome::Cancelled => {
            ended.outcome = asked.stop.map(stopped).ok_or("a stop that was not requested")?;
        }
        Outcome::Refused { error, transient } if !*transient || error.code != HOST_MEMORY => {
            return Err("a refusal, which only the host can make");
        }
        Outcome::Lost => return Err("an attempt that was lost"),
        Outcome::Failed { error, .. }
        | Outcome::Snoozed { error, .. }
        | Outcome::Trapped { error }
        | Outcome::LimitExceeded { error, .. }
        | Outcome::Refused { error, .. } => *error = cut(std::mem::take(&mut error.code), error),
        _ => {}
    }
    Ok(ended)
}

/// Refuses a receipt of more than the attempt could use.
fn check_usage(usage: &Usage, asked: Asked<'_>) -> Result<(), &'static str> {
    // The two clocks are read at different moments.
    let most_ms = millis(asked.elapsed.saturating_add(Duration::from_secs(1)));
    let times =
        [usage.queue_ms, usage.compile_ms, usage.instantiate_ms, usage.run_ms, usage.cpu_ms];
    if !times.iter().all(|time| (0.0..=most_ms).contains(time)) {
        return Err("a receipt with an invalid time");
    }
    let is_fuel = match (usage.fuel, asked.limits.fuel) {
        (Some(used), Fuel::Units(most)) => used <= most,
        (Some(_), Fuel::Unlimited) => false,
        (None, _) => true,
    };
    if !is_fuel {
        return Err("a receipt with more fuel than the limit");
    }
    if usage.peak_memory_bytes > asked.limits.memory_bytes {
        return Err("a receipt with more memory than the limit");
    }
    Ok(())
}

/// The error within its bounds.
fn cut(mut code: String, error: &AttemptError) -> AttemptError {
    /// Longer than the longest code of this host.
    const CODE_BYTES: usize = 64;
    code.truncate(code.floor_char_boundary(CODE_BYTES));
    let cut = AttemptError::new(&code, error.message.clone());
    match &error.backtrace {
        Some(frames) => cut.with_backtrace(frames.clone()),
        None => cut,
    }
}

#[cfg(test)]
mod tests;
