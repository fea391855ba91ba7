//! What a host and a runner say to each other.
//!
//! Invariant: what a runner says is only ever data: it may be wrong or too much, and then the runner
//! is given up, but it makes the host do nothing that its attempt was not granted.

mod assignment;
mod ending;
mod outside;

use jobwright_core::attempt::Attempt;
use jobwright_core::limits::Limits;
use jobwright_core::log::{LogBuffer, LogPiece};
use jobwright_core::report::{Progress, Report, Told};
use jobwright_core::runtime::{Ended, StopReason};
use serde::{Deserialize, Serialize};

pub(super) use self::assignment::Assignment;
pub(super) use self::ending::believed;
pub(super) use self::outside::{Answer, Ask};
use super::super::Allocator;
use super::super::code::Key;

/// What the host says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Get ready, for attempts that use at most this. Said first, and once.
    Begin { ceiling: Limits, allocator: Allocator },
    /// Take the code that follows, in a frame of its own.
    Load(Key),
    /// Forget code, of which there would be too much.
    Forget(Key),
    /// Run an attempt.
    Run(Box<Assignment>),
    /// The attempt is to end, or soon will be.
    Stop(Word),
    /// What a call has come to.
    Answer { call: u64, answer: Box<Answer> },
}

/// What an attempt is told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// The host is about to stop.
    Notice,
    /// The attempt is to end.
    Raised(StopReason),
}

/// What a runner says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Telling {
    /// To `Begin`; with what of its sandbox the system does not have, or why it cannot begin.
    Ready(Result<Vec<String>, String>),
    /// To `Load`; with why it cannot be used.
    Loaded(Result<(), String>),
    /// The guest asks whether it is to end: it is given a grace when it is.
    Asks,
    /// What the attempt has left so far, beyond what was told before.
    Traces(Box<Traces>),
    /// The attempt reaches outside.
    Call { call: u64, ask: Box<Ask>, before: Box<Traces> },
    /// The attempt waits for the answer no more.
    Dropped { call: u64 },
    /// To `Run`.
    Ended { ended: Box<Ended>, last: Box<Traces> },
}

/// What one message of a runner takes beside what guests choose the length of: names, headers, error
/// messages, and what encodes them.
const MESSAGE_BYTES: u64 = 1 << 20;

/// The longest message that a runner may send about `attempt`, in bytes.
pub(super) fn longest(attempt: &Attempt) -> usize {
    let traces = attempt.log.capacity().saturating_add(attempt.report.most_bytes());
    let outside = attempt
        .granted
        .outside
        .request_bytes()
        .saturating_add(assignment::value_bytes(&attempt.granted.grants));
    let parts = [attempt.limits.output_bytes, traces, outside];
    let sum = parts.into_iter().fold(MESSAGE_BYTES, u64::saturating_add);
    usize::try_from(sum).unwrap_or(usize::MAX)
}

/// What an attempt leaves while it runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Traces {
    log: LogPiece,
    told: Told,
}

impl Traces {
    /// What `attempt` has left since its log was `position` bytes long; moves that on.
    pub(super) fn since(position: &mut u64, log: &LogBuffer, report: &Report) -> Self {
        let written = log.written();
        let log = if written == *position { LogPiece::default() } else { log.since(*position) };
        let length = log.first.len() as u64 + log.dropped + log.last.len() as u64;
        *position += length;
        Self { log, told: report.take_unsaved() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.log == LogPiece::default() && self.told.is_empty()
    }

    /// Adds them to those of `attempt`.
    pub(super) fn add_to(self, attempt: &Attempt) {
        attempt.log.add(&self.log);
        let Told { progress, checkpoint } = self.told;
        if let Some(Progress { fraction, message }) = progress {
            attempt.report.progress(Progress::new(fraction, &message));
        }
        if let Some(checkpoint) = checkpoint {
            // One that is too long is not kept, as if the guest itself had tried.
            let _ = attempt.report.save(checkpoint);
        }
    }
}
