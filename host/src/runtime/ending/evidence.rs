//! What is known of an attempt that ended.

use jobwright_core::attempt::Attempt;
use jobwright_core::runtime::StopReason;

use super::super::limiter::Refusal;
use super::super::stdio::OutputBuffer;
use super::super::words;

/// What the host remembers of an attempt that ended.
pub(in super::super) struct Evidence<'a> {
    pub(in super::super) attempt: &'a Attempt,
    pub(in super::super) refused: Option<Refusal>,
    /// Whether the system refused memory that the guest may have.
    pub(in super::super) starved: bool,
    pub(in super::super) output: &'a OutputBuffer,
    /// The media type of the output, if the guest named one apart from its answer.
    pub(in super::super) output_type: Option<String>,
    /// What the guest's own calls could take of the stack, in bytes.
    pub(in super::super) stack_bytes: usize,
    /// Why the guest was told to stop, if it was and had a grace to end by itself.
    pub(in super::super) stopped: Option<StopReason>,
}

/// The line that most likely says why the guest ended.
pub(super) fn last_words(evidence: &Evidence<'_>) -> Option<String> {
    /// Far more than is shown of a line.
    const OUTPUT_BYTES: usize = 4096;
    let log = &evidence.attempt.log;
    let log = if log.written() == 0 { vec![] } else { log.snapshot().bytes };
    words::last(&log, &evidence.output.end(OUTPUT_BYTES))
}
