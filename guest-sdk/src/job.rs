//! The job as its function sees it: its metadata. The calls of the host are in `host_calls`.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::JobError;
use crate::backend::Host;
use crate::metadata::Metadata;

/// The job of the current attempt: its metadata, and the calls of the host.
///
/// A job may be attempted more than once. The id is the same for all attempts, so other systems can use
/// it as an idempotency key.
///
/// ```
/// use jobwright_guest::{Job, JobError};
///
/// #[jobwright_guest::job]
/// fn greet(name: String, job: &Job) -> Result<String, JobError> {
///     if job.attempt() > 1 {
///         job.warn(format_args!("attempt {} of {}", job.attempt(), job.max_attempts()));
///     }
///     Ok(format!("{}, {name}!", job.var("GREETING").unwrap_or("Hello")))
/// }
/// ```
///
/// In a core module each of the functions that call the host is an import, which the module has only if
/// it is used: see [the list](crate#what-a-core-module-imports).
#[derive(Debug)]
pub struct Job {
    metadata: Metadata,
    pub(crate) host: Host,
}

impl Job {
    pub(crate) fn new(metadata: Metadata, host: Host) -> Self {
        Self { metadata, host }
    }

    /// The id of the job, the same for all attempts; `local` without a host.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// assert_eq!(job.id(), "local");
    /// ```
    #[must_use]
    pub fn id(&self) -> &str {
        &self.metadata.id
    }

    /// The number of this attempt, from 1. It counts every attempt, also those that were lost, released or
    /// snoozed, and those before the job was retried on request.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// assert_eq!(job.attempt(), 1);
    /// ```
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.metadata.attempt
    }

    /// The number of the last attempt if this one and all that follow fail:
    /// [`attempt`](Self::attempt) plus [`attempts_left`](Self::attempts_left).
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new().with_attempt(2, 5);
    /// assert_eq!(job.max_attempts(), job.attempt() + job.attempts_left());
    /// ```
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.metadata.max_attempts
    }

    /// How many attempts have failed so far, of those that count.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// assert_eq!(job.failures(), 0);
    /// ```
    #[must_use]
    pub fn failures(&self) -> u32 {
        let Metadata { failures, attempt, .. } = self.metadata;
        failures.unwrap_or(attempt.saturating_sub(1))
    }

    /// How many attempts can follow if this one and all that follow fail: 0 in the last one.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// let is_last = job.attempts_left() == 0;
    /// # assert!(is_last);
    /// ```
    #[must_use]
    pub fn attempts_left(&self) -> u32 {
        let Metadata { attempts_left, attempt, max_attempts, .. } = self.metadata;
        attempts_left.unwrap_or(max_attempts.saturating_sub(attempt))
    }

    /// The queue of the job.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// assert_eq!(job.queue(), "local");
    /// ```
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.metadata.queue
    }

    /// The plugin that runs, as `name@version`.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// job.info(format_args!("this is {}", job.plugin()));
    /// ```
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.metadata.plugin
    }

    /// When the host accepted the job; 1970 without a host.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// assert_eq!(job.created_at(), std::time::UNIX_EPOCH);
    /// ```
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.metadata.created_at_ms)
    }

    /// The submitter's tags.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new().with_tags(["nightly"]);
    /// assert!(job.tags().iter().any(|tag| tag == "nightly"));
    /// ```
    #[must_use]
    pub fn tags(&self) -> &[String] {
        self.metadata.tags()
    }

    /// The submitter's arguments.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new().with_args(["12"]);
    /// assert_eq!(job.args(), ["12"]);
    /// ```
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.metadata.args
    }

    /// The argument at `index`, counted from 0, as a `T`; `None` if there are fewer.
    ///
    /// ```
    /// use jobwright_guest::testing::TestJob;
    ///
    /// let job = TestJob::new().with_args(["12"]);
    /// assert_eq!(job.arg::<u32>(0).unwrap(), Some(12));
    /// assert_eq!(job.arg::<u32>(1).unwrap(), None);
    /// ```
    ///
    /// # Errors
    /// A permanent error with the argument, if it is not a `T`.
    pub fn arg<T: FromStr>(&self, index: usize) -> Result<Option<T>, JobError> {
        let Some(arg) = self.metadata.args.get(index) else { return Ok(None) };
        arg.parse().map(Some).map_err(|_| {
            let kind = std::any::type_name::<T>();
            JobError::permanent(format!("argument {} is `{arg}`, not a valid {kind}", index + 1))
        })
    }

    /// The submitter's named values.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new().with_env([("COLOUR", "blue")]);
    /// assert_eq!(job.env(), [("COLOUR".to_owned(), "blue".to_owned())]);
    /// ```
    #[must_use]
    pub fn env(&self) -> &[(String, String)] {
        &self.metadata.env
    }

    /// The submitter's value of that name.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new().with_env([("COLOUR", "blue")]);
    /// assert_eq!(job.var("COLOUR"), Some("blue"));
    /// assert_eq!(job.var("SHAPE"), None);
    /// ```
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env().iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Lets tests set the metadata.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use crate::JobError;
    use crate::testing::TestJob;

    #[test]
    fn an_argument_that_does_not_parse_is_shown() {
        let error = TestJob::new().with_args(["-1"]).arg::<u32>(0).unwrap_err();
        assert_eq!(error, JobError::permanent("argument 1 is `-1`, not a valid u32"));
    }
}
