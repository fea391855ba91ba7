//! The level of a line of the log.

use std::fmt;

/// The level of a line of the log, in increasing order.
///
/// ```
/// use jobwright_guest::Level;
///
/// assert!(Level::Warn > Level::Info);
/// assert_eq!(Level::Critical.to_string(), "critical");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// The numbers are those of `jobwright_level` in `include/jobwright.h`.
#[repr(i32)]
pub enum Level {
    /// Detailed steps.
    Trace,
    /// Information for debugging.
    Debug,
    /// Ordinary events.
    Info,
    /// Possible problems.
    Warn,
    /// Errors.
    Error,
    /// Errors that end the attempt, such as a panic.
    Critical,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        })
    }
}
