//! How a job fails: for good, or for now.

use std::fmt;

/// Why a job failed, and whether another attempt may go better.
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
    retry: bool,
}

impl JobError {
    /// The same payload will fail in the same way again: the host does not retry the job.
    ///
    /// Takes anything that can be shown, so it fits `map_err`:
    ///
    /// ```
    /// use jobwright_guest::JobError;
    ///
    /// let port: Result<u16, _> = "70000".parse().map_err(JobError::permanent);
    /// assert_eq!(port.unwrap_err().to_string(), "number too large to fit in target type");
    /// ```
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), retry: false }
    }

    /// Something outside the payload stood in the way: the host tries again later, while attempts
    /// are left.
    ///
    /// ```
    /// use jobwright_guest::JobError;
    ///
    /// assert!(JobError::retry("the price list is being replaced").is_retry());
    /// ```
    pub fn retry(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), retry: true }
    }

    /// Whether it asks for a retry.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.retry
    }

    /// The exit code for it in `sysexits.h`: `EX_TEMPFAIL` or `EX_DATAERR`.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.retry { 75 } else { 65 }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for JobError {}

/// JSON that does not parse, or does not fit, will not do so next time either. Only a reader that
/// broke off may do better.
impl From<serde_json::Error> for JobError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { Self::retry(error) } else { Self::permanent(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::JobError;

    #[test]
    fn broken_json_is_permanent_and_a_broken_reader_is_not() {
        let syntax = serde_json::from_str::<u8>("{").unwrap_err();
        assert!(!JobError::from(syntax).is_retry());
        let misfit = serde_json::from_str::<u8>("300").unwrap_err();
        assert!(!JobError::from(misfit).is_retry());

        struct Broken;
        impl std::io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
        }
        let broken = serde_json::from_reader::<_, u8>(Broken).unwrap_err();
        assert!(JobError::from(broken).is_retry());
    }
}
