//! The log of a host, and its events for operators.
//!
//! | event | logged for |
//! |---|---|
//! | `job_discarded` | each job that failed for good |
//! | `admin_action` | each audit entry |
//! | `refused` | refused requests and attempts, at most once per minute and reason; `peer` is the latest client |
//!
//! Values that guests and clients choose are written on one line, without control characters.

mod discarded;
mod filter;
mod line;
mod refusals;

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use jobwright_core::access::AuditEntry;
use tracing_subscriber::EnvFilter;

pub(crate) use self::discarded::{DiscardedLog, log_discarded};
pub(crate) use self::filter::parse as parse_filter;
use self::line::one_line;
pub(crate) use self::refusals::Refusals;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text, for people.
    #[default]
    Text,
    /// One JSON object per line, for programs that collect logs.
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

/// Starts the log of this process, on stderr.
pub(crate) fn start(filter: EnvFilter, format: LogFormat) {
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Logs an audit entry.
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
