//! How a job fails: permanently or temporarily.

use std::fmt;
use std::time::Duration;

use crate::backend;
use crate::link::Link;

/// Why a job failed, and whether another attempt may succeed.
///
/// `?` converts common errors: errors of parsing JSON, text and numbers become permanent, errors of input
/// and output request a retry. A `Box<dyn Error>`, or with the feature `anyhow` an `anyhow::Error`,
/// requests a retry too, unless it contains a `JobError`. Convert your own errors with
/// `impl From<YourError> for JobError`, and all others with `.map_err(JobError::permanent)` or
/// `.map_err(JobError::retry)`.
///
/// ```
/// use jobwright_guest::JobError;
///
/// fn check(celsius: f64) -> Result<(), JobError> {
///     if celsius < -273.15 {
///         return Err(JobError::permanent(format!("{celsius} °C is below absolute zero")));
///     }
///     Ok(())
/// }
/// assert!(!check(-300.0).unwrap_err().is_retry());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobError {
    message: String,
    kind: Kind,
    delay: Option<Duration>,
    /// Tells the host of a core module what the exit code cannot express.
    announce: Option<Link<JobError>>,
}

/// What happens to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Permanent,
    Retry,
    Later,
}

impl JobError {
    /// The same payload will fail in the same way again: the host discards the job.
    ///
    /// Takes anything that implements `Display`, so it can be passed to `map_err`:
    ///
    /// ```
    /// use jobwright_guest::JobError;
    ///
    /// let port: Result<u16, _> = "70000".parse().map_err(JobError::permanent);
    /// assert_eq!(port.unwrap_err().to_string(), "number too large to fit in target type");
    /// ```
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self::of(Kind::Permanent, message)
    }

    /// The failure has a cause outside of the payload: the host retries the job later, while attempts are
    /// left.
    ///
    /// ```
    /// use jobwright_guest::JobError;
    ///
    /// assert!(JobError::retry("the price list is being replaced").is_retry());
    /// ```
    pub fn retry(message: impl fmt::Display) -> Self {
        Self::of(Kind::Retry, message)
    }

    /// As [`retry`](Self::retry), but `delay` from now, at most 366 days. A core module that calls it
    /// imports `jobwright.fail`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use jobwright_guest::JobError;
    ///
    /// let error = JobError::retry_after(Duration::from_secs(60), "the price list is replaced daily");
    /// assert_eq!(error.delay(), Some(Duration::from_secs(60)));
    /// ```
    pub fn retry_after(delay: Duration, message: impl fmt::Display) -> Self {
        let announce = Some(Link(backend::announce_failure));
        Self { delay: Some(delay), announce, ..Self::retry(message) }
    }

    /// The job cannot run now, but has not failed: the host tries again `delay` from now, at most 366
    /// days, and this attempt does not count. After 100 of these in sequence, or after 7 days
    /// of them, the next one counts as a failure. A core module that calls it imports `jobwright.later`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use jobwright_guest::JobError;
    ///
    /// let error = JobError::later(Duration::from_secs(3600), "the shop opens at nine");
    /// assert!(error.is_later() && error.is_retry());
    /// ```
    pub fn later(delay: Duration, message: impl fmt::Display) -> Self {
        let announce = Some(Link(backend::announce_later));
        Self { delay: Some(delay), announce, ..Self::of(Kind::Later, message) }
    }

    fn of(kind: Kind, message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), kind, delay: None, announce: None }
    }

    /// Whether another attempt may follow: false only for a permanent error.
    ///
    /// ```
    /// # use jobwright_guest::JobError;
    /// assert!(!JobError::permanent("no such colour: `blurple`").is_retry());
    /// ```
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.kind != Kind::Permanent
    }

    /// Whether the attempt does not count as a failure.
    ///
    /// ```
    /// # use jobwright_guest::JobError;
    /// assert!(!JobError::retry("the shop is on fire").is_later());
    /// ```
    #[must_use]
    pub fn is_later(&self) -> bool {
        self.kind == Kind::Later
    }

    /// The delay of the next attempt; `None` for the host's back-off.
    ///
    /// ```
    /// # use jobwright_guest::JobError;
    /// assert_eq!(JobError::retry("try again").delay(), None);
    /// ```
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// An error of the same kind with another message.
    #[cfg(feature = "anyhow")]
    pub(crate) fn with_message(self, message: String) -> Self {
        Self { message, ..self }
    }

    /// The exit code for it in `sysexits.h`: `EX_TEMPFAIL` or `EX_DATAERR`.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.is_retry() { 75 } else { 65 }
    }

    /// Tells the host of a core module what the exit code cannot express.
    pub(crate) fn announce(&self) {
        if let Some(announce) = &self.announce {
            (announce.0)(self);
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for JobError {}
