//! What a host and a runner say to each other.
//!
//! Invariant: what a runner says is only ever data: it may be wrong or too much, and then the runner
//! is given up, but it makes the host do nothing that its attempt was not granted.

mod assignment;
mod ending;
mod frames;
mod outside;

use jobwright_core::attempt::Attempt;
use jobwright_core::log::{LogBuffer, LogPiece};
use jobwright_core::report::{Progress, Report, Told};
use jobwright_core::runtime::{Ended, StopReason};
use serde::{Deserialize, Serialize};

pub(super) use self::assignment::{Assignment, value_bytes};
pub(super) use self::ending::{Asked, believed};
pub(super) use self::frames::Longest;
pub(super) use self::outside::{Answer, Ask, Request};
use super::super::code::key::CodeKey;
use super::super::config::EngineConfig;

/// What the host says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Get ready, for attempts that use at most this. Said first, and once.
    Begin(EngineConfig),
    /// Take the code that follows, in a frame of its own.
    Load(CodeKey),
    /// Run an attempt.
    Run(Box<Assignment>),
    /// The attempt is to end, or soon will be.
    Stop(Word),
    /// What a call has come to.
    Answer { call: u64, answer: Box<Answer> },
}

/// Why a process did not load code.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unloaded {
    /// It does not fit what the host offers, so no process can ever run it.
    Misfit(String),
    /// Another process may.
    Failed(String),
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
    /// To `Load`.
    Loaded(Result<(), Unloaded>),
    /// The guest asks whether it is to end: it is given a grace when it is.
    Asks,
    /// What the attempt has left so far, beyond what was told before.
    Traces(Box<Traces>),
    /// The attempt reaches outside.
    Call { call: u64, ask: Box<Ask>, before: Box<Traces> },
    /// The attempt waits no more for the answer, or for the rest of the response that it began.
    Dropped { call: u64 },
    /// To `Run`.
    Ended { ended: Box<Ended>, last: Box<Traces> },
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
