//! The facts about an attempt that ended.

use jobwright_core::attempt::Attempt;
use jobwright_core::runtime::StopReason;

use super::super::limiter::Refusal;
use super::super::stdio::OutputBuffer;
use super::super::words;

/// The facts that the host has about an attempt that ended.
pub(in super::super) struct Evidence<'a> {
    pub(in super::super) attempt: &'a Attempt,
    pub(in super::super) refused: Option<Refusal>,
    /// Whether the system refused memory that the guest may have.
    pub(in super::super) starved: bool,
    pub(in super::super) output: &'a OutputBuffer,
    /// The media type of the output, if the guest set one separately from its result.
    pub(in super::super) output_type: Option<String>,
    /// The size of the stack for the guest's own calls, in bytes.
    pub(in super::super) stack_bytes: usize,
    /// Why the guest was told to stop, if it was told and got a grace period.
    pub(in super::super) stopped: Option<StopReason>,
}

/// The line that most likely explains why the guest ended.
pub(super) fn last_words(evidence: &Evidence<'_>) -> Option<String> {
    /// Far more than the shown part of a line.
    const OUTPUT_BYTES: usize = 4096;
    let log = &evidence.attempt.log;
    let log = if log.written() == 0 { vec![] } else { log.snapshot().bytes };
    words::last(&log, &evidence.output.end(OUTPUT_BYTES))
}
