//! The outcome of an attempt, and its usage. Running a job never returns `Err`: every ending is a
//! value.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::limit::Limit;
use crate::text::cut;

/// The longest error message that is kept, in bytes: a screenful.
pub const MAX_MESSAGE_BYTES: usize = 2 * 1024;

/// The longest backtrace that is kept, in bytes: some fifty frames.
pub const MAX_BACKTRACE_BYTES: usize = 8 * 1024;

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The guest finished and left an output.
    Succeeded {
        /// Its output.
        output: Output,
    },
    /// The guest itself reported a failure.
    Failed {
        /// The error that it reported.
        error: AttemptError,
        /// Whether and when to try again.
        retry: RetryHint,
    },
    /// The guest asked to be tried again later: not counted as a failure, within
    /// [bounds](crate::retry::MAX_SNOOZES).
    Snoozed {
        /// Why.
        error: AttemptError,
        /// How long from now; absent for the default back-off.
        wait: Option<Duration>,
    },
    /// The guest did what WebAssembly forbids, or the host failed under it.
    Trapped {
        /// The trap, with the guest's frames.
        error: AttemptError,
    },
    /// The guest reached a limit.
    LimitExceeded {
        /// The limit.
        limit: Limit,
        /// An error with the value of the limit.
        error: AttemptError,
    },
    /// Stopped because the job was cancelled.
    Cancelled,
    /// Stopped because the host stops; not the job's doing.
    Interrupted,
    /// The host could not start it.
    Refused {
        /// Why.
        error: AttemptError,
        /// Whether another attempt may succeed; false for a corrupt or missing plugin.
        transient: bool,
    },
    /// The host died, or stalled past the lease.
    Lost,
}

/// The kind of an [`Outcome`], as HTTP responses and stores name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// The guest finished and left an output.
    Succeeded,
    /// The guest itself reported a failure.
    Failed,
    /// The guest asked to be tried again later.
    Snoozed,
    /// The guest trapped.
    Trapped,
    /// The guest reached a limit.
    LimitExceeded,
    /// The job was cancelled.
    Cancelled,
    /// The host stopped.
    Interrupted,
    /// The host could not start it.
    Refused,
    /// The host died or stalled.
    Lost,
}

impl Outcome {
    /// A limit was reached; `message` states what happened; how the limit is raised is added to it.
    #[must_use]
    pub fn exceeded(limit: Limit, message: impl std::fmt::Display) -> Self {
        let message = format!("{message}; {}", limit.remedy());
        Self::LimitExceeded { limit, error: AttemptError::new(&limit.to_string(), message) }
    }

    /// The name of the outcome.
    #[must_use]
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Succeeded { .. } => OutcomeKind::Succeeded,
            Self::Failed { .. } => OutcomeKind::Failed,
            Self::Snoozed { .. } => OutcomeKind::Snoozed,
            Self::Trapped { .. } => OutcomeKind::Trapped,
            Self::LimitExceeded { .. } => OutcomeKind::LimitExceeded,
            Self::Cancelled => OutcomeKind::Cancelled,
            Self::Interrupted => OutcomeKind::Interrupted,
            Self::Refused { .. } => OutcomeKind::Refused,
            Self::Lost => OutcomeKind::Lost,
        }
    }

    /// The limit that was reached, if one was.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::LimitExceeded { limit, .. } => Some(*limit),
            _ => None,
        }
    }

    /// The error to record, if there is one.
    #[must_use]
    pub fn error(&self) -> Option<&AttemptError> {
        match self {
            Self::Failed { error, .. }
            | Self::Snoozed { error, .. }
            | Self::Trapped { error }
            | Self::LimitExceeded { error, .. }
            | Self::Refused { error, .. } => Some(error),
            Self::Succeeded { .. } | Self::Cancelled | Self::Interrupted | Self::Lost => None,
        }
    }
}

/// Whether and when a guest that failed asks for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryHint {
    /// Try again after the default back-off.
    Backoff,
    /// Retry after this duration, instead of the back-off.
    After(Duration),
    /// No retry: it would fail again.
    Never,
}

/// Bytes that a success left, with their media type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The media type.
    pub content_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

impl Output {
    /// The output `bytes` under the media type `declared`, or else under the one that they show: an
    /// object or array that parses is JSON, valid UTF-8 is text, anything else is just bytes.
    #[must_use]
    pub fn new(bytes: Bytes, declared: Option<&str>) -> Self {
        let content_type = declared.unwrap_or_else(|| guess(&bytes)).to_owned();
        Self { content_type, bytes }
    }
}

/// Whether this may stand for a media type in a header.
#[must_use]
pub fn is_media_type(text: &str) -> bool {
    text.len() <= 255 && text.contains('/') && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

/// Whether a media type is one of JSON: `application/json`, or one with the suffix `+json` (RFC 6839,
/// section 3.1), whatever its parameters.
#[must_use]
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(&*essence, "application/json" | "text/json") || essence.ends_with("+json")
}

fn guess(bytes: &[u8]) -> &'static str {
    let opens = bytes.trim_ascii_start().first();
    if matches!(opens, Some(b'{' | b'['))
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
    {
        "application/json"
    } else if std::str::from_utf8(bytes).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}

/// The error of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptError {
    /// A stable word that programs may compare: `exit_code`, `unreachable`, `fuel`, …
    pub code: String,
    /// A message for people; at most [`MAX_MESSAGE_BYTES`].
    pub message: String,
    /// The guest's frames, innermost first; at most [`MAX_BACKTRACE_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
}

impl AttemptError {
    /// An error without a backtrace; a message that is too long is cut.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let message = cut(message.into(), MAX_MESSAGE_BYTES);
        Self { code: code.to_owned(), message, backtrace: None }
    }

    /// Adds a note of the host to the message.
    #[must_use]
    pub fn with_note(mut self, note: &str) -> Self {
        let room = MAX_MESSAGE_BYTES.saturating_sub(note.len() + 2);
        self.message = format!("{}; {note}", cut(self.message, room));
        self
    }

    /// Adds the frames of the guest.
    #[must_use]
    pub fn with_backtrace(mut self, frames: String) -> Self {
        self.backtrace = Some(cut(frames, MAX_BACKTRACE_BYTES));
        self
    }
}

/// The receipt of an attempt: its usage. Times are in milliseconds, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// From the time the job was due until it was claimed.
    pub queue_ms: f64,
    /// Loading or compiling the plugin's code: near zero if it was in memory.
    pub compile_ms: f64,
    /// Instantiating, including the start function.
    pub instantiate_ms: f64,
    /// From the call of the guest to its end.
    pub run_ms: f64,
    /// Time that a processor spent on the guest: instantiating, running, and in host calls.
    pub cpu_ms: f64,
    /// Fuel used; none when the job runs without a fuel limit.
    pub fuel: Option<u64>,
    /// The peak size of all memories and tables.
    pub peak_memory_bytes: u64,
    /// Length of the payload.
    pub payload_bytes: u64,
    /// Length of the output, also of one that was refused for its size.
    pub output_bytes: u64,
    /// Log bytes that were kept.
    pub log_bytes: u64,
    /// Log bytes that were dropped.
    pub log_dropped_bytes: u64,
}

/// A duration as [`Usage`] shows it.
#[must_use]
pub fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_json_only_when_it_is_an_object_or_array_that_parses() {
        let kind = |text: &'static str| Output::new(Bytes::from(text), None).content_type;
        assert_eq!(kind(" {\"a\":1}\n"), "application/json");
        assert_eq!(kind("[1,2]"), "application/json");
        assert_eq!(kind("{\"a\":"), "text/plain; charset=utf-8");
        assert_eq!(kind("7"), "text/plain; charset=utf-8");
        assert_eq!(kind(""), "text/plain; charset=utf-8");
        let bytes = Output::new(Bytes::from_static(&[0xff, 0xfe]), None);
        assert_eq!(bytes.content_type, "application/octet-stream");
        assert_eq!(Output::new(Bytes::new(), Some("image/png")).content_type, "image/png");
    }

    #[test]
    fn json_has_many_media_types() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "text/json"] {
            assert!(is_json(json), "{json}");
        }
        for json in ["application/ld+json", "application/vnd.api+json ; v=1", "model/GLTF+JSON"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "json", "text/plain", "application/jsonp", "application/json-seq"] {
            assert!(!is_json(other), "{other}");
        }
        assert!(!is_json("text/plain; x=application/json"));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let error = AttemptError::new("x", "ä".repeat(MAX_MESSAGE_BYTES));
        assert!(error.message.len() <= MAX_MESSAGE_BYTES + '…'.len_utf8());
        assert!(error.message.ends_with('…'));
    }
}
