//! The channel between one attempt's guest and its host: log lines, progress, checkpoint, cancellation, and
//! the ending that the guest announces.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::limits::flag;
use jobwright_core::log::LogBuffer;
use jobwright_core::name::shorten;
use jobwright_core::outcome::{AttemptError, MAX_MESSAGE_BYTES, RetryHint, is_media_type};
use jobwright_core::report::{MAX_PROGRESS_BYTES, Progress, ProgressReporter, TooLarge};
use jobwright_core::runtime::{Stop, StopSignal};
use jobwright_core::services::Capabilities;
use jobwright_core::text;

use super::super::clocks::Clocks;
use super::super::ending::GuestResult;

/// The number of bytes of a path that are read for a message: 80 characters are shown, of four
/// bytes at most.
const MAX_SHOWN_BYTES: usize = 4 * 81;

/// The level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl Level {
    /// The first word of the line.
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

/// The channel between one attempt's guest and its host.
#[derive(Debug)]
pub(in super::super) struct GuestChannel {
    log: Arc<LogBuffer>,
    report: Arc<ProgressReporter>,
    stop: StopSignal,
    /// The clocks, which determine how much time is left.
    clocks: Clocks,
    timeout: Duration,
    granted: Capabilities,
    /// The media type of the output, and the ending, that the guest announced.
    output_type: Option<String>,
    failure: Option<GuestResult>,
    told_of_no_files: bool,
    told_of_checkpoint: bool,
}

impl GuestChannel {
    /// The channel of `attempt`, which begins now.
    pub(in super::super) fn new(attempt: &Attempt, stop: StopSignal) -> Self {
        Self {
            log: attempt.log.clone(),
            report: attempt.report.clone(),
            stop,
            clocks: Clocks::of(attempt),
            timeout: attempt.limits.timeout(),
            granted: attempt.granted.clone(),
            output_type: None,
            failure: None,
            told_of_no_files: false,
            told_of_checkpoint: false,
        }
    }

    /// A channel of a guest that never runs.
    pub(in super::super) fn idle() -> Self {
        let (_, stop) = Stop::new();
        Self {
            log: Arc::new(LogBuffer::new(0)),
            report: Arc::new(ProgressReporter::new(None, 0)),
            stop,
            clocks: Clocks::still(),
            timeout: Duration::ZERO,
            granted: Capabilities::default(),
            output_type: None,
            failure: None,
            told_of_no_files: false,
            told_of_checkpoint: false,
        }
    }

    /// What the attempt was granted.
    pub(in super::super) fn granted(&self) -> &Capabilities {
        &self.granted
    }

    /// The log, for work that outlives a call.
    pub(in super::super) fn log_buffer(&self) -> Arc<LogBuffer> {
        self.log.clone()
    }

    /// Writes a line to the log. `context` may be empty.
    pub(in super::super) fn log(&self, level: Level, context: &str, message: &[u8]) {
        self.log.write(level.word().as_bytes());
        for part in [": ", context, if context.is_empty() { "" } else { ": " }] {
            self.log.write(part.as_bytes());
        }
        self.log.write(message);
        if !message.ends_with(b"\n") {
            self.log.write(b"\n");
        }
    }

    /// Logs that there are no files, for a guest that tries to use the file at `path`. Logged once,
    /// because programs try many paths.
    pub(in super::super) fn tell_of_no_files(&mut self, path: &[u8]) {
        if std::mem::replace(&mut self.told_of_no_files, true) {
            return;
        }
        let shown = &path[..path.len().min(MAX_SHOWN_BYTES)];
        let path = shorten(&String::from_utf8_lossy(shown));
        let message = format!(
            "the program tries to use the file `{path}`, but jobs have no files: what a job needs comes \
             as its payload, and what it makes is its output"
        );
        self.log(Level::Warn, "jobwright", message.as_bytes());
    }

    /// Reports progress. A message that is too long is cut.
    pub(in super::super) fn progress(&self, fraction: Option<f64>, message: &[u8]) {
        let shown = text::start(message, MAX_PROGRESS_BYTES + 4);
        self.report.progress(Progress::new(fraction, &String::from_utf8_lossy(shown)));
    }

    /// Whether the attempt should end.
    pub(in super::super) fn is_cancelled(&self) -> bool {
        self.report.ask();
        self.stop.noticed().is_some()
    }

    /// The time that is left, in milliseconds.
    pub(in super::super) fn remaining_ms(&self) -> u64 {
        let passed = Duration::from_nanos(self.clocks.read());
        u64::try_from(self.timeout.saturating_sub(passed).as_millis()).unwrap_or(u64::MAX)
    }

    /// The attempt's clocks.
    pub(in super::super) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Replaces the checkpoint. A checkpoint that is too long is logged, once.
    pub(in super::super) fn save(&mut self, state: &[u8]) -> Result<(), TooLarge> {
        let saved = self.report.check(state.len() as u64);
        if let Err(refused) = saved
            && !std::mem::replace(&mut self.told_of_checkpoint, true)
        {
            let flag = flag("checkpoint_bytes");
            let message = format!("{refused}: raise it with {flag} or `limits.checkpoint_bytes`");
            self.log(Level::Warn, "jobwright", message.as_bytes());
        }
        saved.and_then(|()| self.report.save(Bytes::copy_from_slice(state)))
    }

    /// The latest checkpoint.
    pub(in super::super) fn load(&self) -> Option<Bytes> {
        self.report.checkpoint()
    }

    /// Sets the media type of the output; returns whether it is valid.
    pub(in super::super) fn set_output_type(&mut self, media_type: &[u8]) -> bool {
        let named = std::str::from_utf8(media_type).ok().filter(|text| is_media_type(text));
        self.output_type = named.map(str::to_owned);
        named.is_some()
    }

    /// Announces why the guest is about to fail.
    pub(in super::super) fn set_failure(&mut self, message: &[u8], retry: RetryHint) {
        self.failure =
            Some(GuestResult::Failed { error: reported_error("failed", message), retry });
    }

    /// Announces why the guest is about to ask to be tried again later.
    pub(in super::super) fn set_later(&mut self, message: &[u8], wait: Option<Duration>) {
        self.failure = Some(GuestResult::Later { error: reported_error("later", message), wait });
    }

    /// The media type of the output, if the guest named one.
    pub(in super::super) fn take_output_type(&mut self) -> Option<String> {
        self.output_type.take()
    }

    /// The ending that the guest announced before it failed.
    pub(in super::super) fn failure(&mut self) -> Option<GuestResult> {
        self.failure.take()
    }
}

/// An error in the guest's words.
fn reported_error(code: &str, message: &[u8]) -> AttemptError {
    let shown = text::start(message, MAX_MESSAGE_BYTES + 4);
    AttemptError::new(code, String::from_utf8_lossy(shown))
}
