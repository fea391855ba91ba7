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

/// Why a process did not load code.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unloaded {
    /// It does not fit what the host offers, so no process can ever run it.
    Misfit(String),
    /// This process failed; another one may succeed.
    Failed(String),
}

/// What an attempt is told about its end while it runs.
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
    /// The guest has asked whether it is to end: it gets a grace period when it is.
    Asks,
    /// What the attempt has left since the last message that held traces.
    Traces(Box<Traces>),
    /// The attempt calls a service of the host.
    Call { call: u64, host_call: Box<HostCall>, before: Box<Traces> },
    /// The attempt no longer waits for the answer, or for the rest of the response.
    Dropped { call: u64 },
    /// The reply to `Run`.
    Ended { ended: Box<Ended>, last: Box<Traces> },
}

/// What an attempt leaves while it runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Traces {
    log: LogPiece,
    told: ProgressUpdate,
}

impl Traces {
    /// What `attempt` has left since its log was `position` bytes long; moves that on.
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

    /// Adds them to those of `attempt`.
    pub(super) fn add_to(self, attempt: &Attempt) {
        attempt.log.add(&self.log);
        let ProgressUpdate { progress, checkpoint } = self.told;
        if let Some(Progress { fraction, message }) = progress {
            attempt.report.progress(Progress::new(fraction, &message));
        }
        if let Some(checkpoint) = checkpoint {
            // One that is too long is not kept, as if the guest itself had tried.
            let _ = attempt.report.save(checkpoint);
        }
    }
}
