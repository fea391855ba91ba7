//! What a guest may tell its host and ask of it, beside WASI: log lines, progress, whether it should
//! end, and its checkpoint; and what was granted it. The same for every kind of plugin that has words
//! for it.
//!
//! | file | offers |
//! |---|---|
//! | [`imports`] | all of it to core modules, as plain functions of the module `jobwright` |
//! | `abi::job` | what needs no grant to components of the world `jobwright:job` |
//! | [`key_value`] | values that a plugin keeps to components, as `wasi:keyvalue` |
//! | [`config`] | what the operator configured to components, as `wasi:config` |

pub(super) mod config;
pub(super) mod imports;
pub(super) mod key_value;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::log::LogBuffer;
use jobwright_core::outcome::{AttemptError, RetryHint, is_media_type};
use jobwright_core::outside::Granted;
use jobwright_core::report::{MAX_PROGRESS_BYTES, Progress, Report, TooLarge};
use jobwright_core::runtime::{Stop, StopSignal};

use super::ending::Said;
use super::start::Passed;

/// The weight of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl Level {
    /// The word that the line begins with.
    fn word(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

/// One attempt's line to its host.
#[derive(Debug)]
pub(super) struct Line {
    log: Arc<LogBuffer>,
    report: Arc<Report>,
    stop: StopSignal,
    /// By which it is told how much time is left.
    passed: Passed,
    timeout: Duration,
    granted: Granted,
    /// What the guest said of its ending before it came to it.
    output_type: Option<String>,
    failure: Option<(AttemptError, RetryHint)>,
}

impl Line {
    /// The line of `attempt`, which begins now.
    pub(super) fn new(attempt: &Attempt, stop: StopSignal) -> Self {
        Self {
            log: attempt.log.clone(),
            report: attempt.report.clone(),
            stop,
            passed: Passed::of(attempt),
            timeout: attempt.limits.timeout(),
            granted: attempt.granted.clone(),
            output_type: None,
            failure: None,
        }
    }

    /// A line that nobody listens to.
    pub(super) fn idle() -> Self {
        let (_, stop) = Stop::new();
        Self {
            log: Arc::new(LogBuffer::new(0)),
            report: Arc::new(Report::new(None, 0)),
            stop,
            passed: Passed::none(),
            timeout: Duration::ZERO,
            granted: Granted::default(),
            output_type: None,
            failure: None,
        }
    }

    /// What the attempt reaches outside of its sandbox.
    pub(super) fn granted(&self) -> &Granted {
        &self.granted
    }

    /// Where its lines go, for what outlives a call.
    pub(super) fn log_buffer(&self) -> Arc<LogBuffer> {
        self.log.clone()
    }

    /// Writes a line to the log. `context` may be empty.
    pub(super) fn log(&self, level: Level, context: &str, message: &[u8]) {
        self.log.write(level.word().as_bytes());
        for part in [": ", context, if context.is_empty() { "" } else { ": " }] {
            self.log.write(part.as_bytes());
        }
        self.log.write(message);
        if !message.ends_with(b"\n") {
            self.log.write(b"\n");
        }
    }

    /// Tells how far the guest has come. A message that is too long is cut.
    pub(super) fn progress(&self, fraction: Option<f64>, message: &[u8]) {
        let shown = &message[..message.len().min(MAX_PROGRESS_BYTES + 1)];
        self.report.progress(Progress::new(fraction, &String::from_utf8_lossy(shown)));
    }

    /// Whether the attempt should end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.report.ask();
        self.stop.noticed().is_some()
    }

    /// The time that is left, in milliseconds.
    pub(super) fn remaining_ms(&self) -> u64 {
        let left = self.timeout.saturating_sub(self.passed.read());
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }

    /// Replaces the checkpoint.
    pub(super) fn save(&self, state: &[u8]) -> Result<(), TooLarge> {
        self.report.check(state.len() as u64)?;
        self.report.save(Bytes::copy_from_slice(state))
    }

    /// The latest checkpoint.
    pub(super) fn load(&self) -> Option<Bytes> {
        self.report.checkpoint()
    }

    /// Names the media type of the output; says whether it is one.
    pub(super) fn set_output_type(&mut self, media_type: &[u8]) -> bool {
        let named = std::str::from_utf8(media_type).ok().filter(|text| is_media_type(text));
        self.output_type = named.map(str::to_owned);
        named.is_some()
    }

    /// Says why the guest is about to fail.
    pub(super) fn set_failure(&mut self, message: &[u8], retry: RetryHint) {
        let shown = &message[..message.len().min(jobwright_core::outcome::MAX_MESSAGE_BYTES + 1)];
        let error = AttemptError::new("failed", String::from_utf8_lossy(shown));
        self.failure = Some((error, retry));
    }

    /// The ending of a guest that succeeded.
    pub(super) fn done(&mut self) -> Said {
        Said::Done { content_type: self.output_type.take() }
    }

    /// The ending that the guest announced before it failed.
    pub(super) fn failure(&mut self) -> Option<Said> {
        self.failure.take().map(|(error, retry)| Said::Failed { error, retry })
    }
}
