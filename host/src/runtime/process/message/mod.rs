//! The messages between a host and a runner.
//!
//! Invariant: a message from a runner is only data. If it is wrong or too long, the runner is killed; it never
//! makes the host do what the attempt was not granted.

mod assignment;
mod ending;
mod frames;
mod host_call;

use jobwright_core::attempt::Attempt;
use jobwright_core::log::{LogBuffer, LogPiece};
use jobwright_core::report::{Progress, ProgressReporter, ProgressUpdate};
use jobwright_core::runtime::{Ended, StopReason};
use serde::{Deserialize, Serialize};

pub(super) use self::assignment::{Assignment, value_bytes};
pub(super) use self::ending::{Asked, believed};
pub(super) use self::frames::Longest;
pub(super) use self::host_call::{Answer, HostCall, Request};
use super::super::code::key::CodeKey;
use super::super::config::EngineConfig;

/// A message from the host to a runner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToRunner {
    /// Get ready for attempts within these limits. Sent first, and once.
    Begin(EngineConfig),
    /// Load the code in the next frame.
    Load(CodeKey),
    /// Run an attempt.
    Run(Box<Assignment>),
    /// The attempt is to end, or soon will be.
    Stop(StopMessage),
    /// The result of a call.
    Answer { call: u64, answer: Box<Answer> },
}

/// Why a process could not load code.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unloaded {
    /// It does not fit the functions of the host, so no process can run it.
    Misfit(String),
    /// This process failed; another one may succeed.
    Failed(String),
}

/// The message to a running attempt that it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum StopMessage {
    /// The host is about to stop.
    Notice,
    /// The attempt is to end.
    Raised(StopReason),
}

/// A message from a runner to the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromRunner {
    /// The reply to `Begin`: which layers of the sandbox the system lacks, or why the runner cannot begin.
    Ready(Result<Vec<String>, String>),
    /// The reply to `Load`.
    Loaded(Result<(), Unloaded>),
    /// The guest has polled for cancellation: it gets a grace period when it is told to stop.
    Asks,
    /// The traces of the attempt since the last message with traces.
    Traces(Box<Traces>),
    /// The attempt calls a service of the host.
    Call { call: u64, host_call: Box<HostCall>, before: Box<Traces> },
    /// The attempt no longer waits for the answer, or for the rest of the response.
    Dropped { call: u64 },
    /// The reply to `Run`.
    Ended { ended: Box<Ended>, last: Box<Traces> },
}

/// The traces of a running attempt: log, progress and checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Traces {
    log: LogPiece,
    told: ProgressUpdate,
}

impl Traces {
    /// The traces since the log was `position` bytes long; advances `position`.
    pub(super) fn since(position: &mut u64, log: &LogBuffer, report: &ProgressReporter) -> Self {
        let written = log.written();
        let log = if written == *position { LogPiece::default() } else { log.since(*position) };
        for length in [log.first.len() as u64, log.dropped, log.last.len() as u64] {
            *position = position.saturating_add(length);
        }
        Self { log, told: report.take_unsaved() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.log == LogPiece::default() && self.told.is_empty()
    }

    /// Adds the traces to those of `attempt`.
    pub(super) fn add_to(self, attempt: &Attempt) {
        attempt.log.add(&self.log);
        let ProgressUpdate { progress, checkpoint } = self.told;
        if let Some(Progress { fraction, message }) = progress {
            attempt.report.progress(Progress::new(fraction, &message));
        }
        if let Some(checkpoint) = checkpoint {
            // A checkpoint that is too long is not stored, as without isolation.
            let _ = attempt.report.save(checkpoint);
        }
    }
}
