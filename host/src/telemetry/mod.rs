//! What the host reports of itself: how its log is written, and the events that operators look for.
//!
//! | event | one line for |
//! |---|---|
//! | `job_discarded` | each job that failed for good |
//! | `admin_action` | each entry of the audit log |
//! | `refused` | requests and attempts that were refused, by reason, at most one a minute; the latest client is the `peer` |
//!
//! Guests and clients choose some of the text: it is put on one line, without control characters.

mod filter;
mod refusals;

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use jobwright_core::access::AuditEntry;
use jobwright_core::change::{Change, Event, JobEvent, Transition};
use jobwright_core::lifecycle::JobState;
use jobwright_core::outcome::AttemptError;
use tracing_subscriber::EnvFilter;

pub(crate) use self::filter::parse as parse_filter;
pub(crate) use self::refusals::Refusals;

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs that collect logs.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("`{other}` is not a log format: use `text` or `json`")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Starts writing the log of this process to stderr.
pub(crate) fn start(filter: EnvFilter, format: LogFormat) {
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Reports the jobs that failed for good with these committed changes.
pub(crate) fn committed(changes: &[Change]) {
    for change in changes {
        if let Event::Job(job) = &change.event
            && let Transition::Finalized { state: JobState::Discarded, error } = &job.transition
        {
            discarded(job, error.as_ref());
        }
    }
}

fn discarded(job: &JobEvent, error: Option<&AttemptError>) {
    let code = error.map_or("none", |error| error.code.as_str());
    let message = error.map_or("no attempt has an error", |error| error.message.as_str());
    tracing::info!(
        event = "job_discarded",
        job = %job.job,
        plugin = %format_args!("{}@{}", job.facts.plugin, job.facts.version),
        tenant = %job.facts.tenant,
        queue = %job.facts.queue,
        attempt = job.attempt,
        code,
        message = one_line(message),
    );
}

/// Reports an administrative action, as it stands in the audit log.
pub(crate) fn administered(entry: &AuditEntry) {
    tracing::info!(
        event = "admin_action",
        action = entry.action,
        on = one_line(&entry.target),
        by = one_line(&entry.actor),
        tenant = %entry.tenant,
        detail = one_line(&entry.detail.to_string()),
    );
}

/// `text` on one line, without what acts on a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn what_guests_say_is_put_on_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m\tä"), "a b [31m ä");
    }
}
