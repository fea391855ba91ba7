//! How much a line of the log matters.

use std::fmt;

/// How much a line of the log matters; the later, the more.
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
    /// Every step.
    Trace,
    /// What helps to find an error.
    Debug,
    /// What the job does.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
    /// What ends the attempt, as a panic does.
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
