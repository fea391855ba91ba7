//! Tests of a job without WebAssembly: a job is an ordinary function, and this module provides its [`Job`].
//!
//! ```
//! use jobwright_guest::testing::TestJob;
//! use jobwright_guest::{Job, JobError};
//!
//! #[jobwright_guest::job]
//! fn shout(text: String, job: &Job) -> Result<String, JobError> {
//!     job.progress(1.0, "shouted");
//!     Ok(text.repeat(job.arg(0)?.unwrap_or(1)).to_uppercase())
//! }
//!
//! let job = TestJob::new().with_args(["2"]);
//! assert_eq!(shout("hey".to_owned(), &job), Ok("HEYHEY".to_owned()));
//! assert_eq!(job.reported()[0].message, "shouted");
//! ```
//!
//! It exists for the native target only: put code that uses it under `#[cfg(test)]`.

use std::ops::Deref;
use std::sync::OnceLock;
use std::time::Duration;

use crate::backend::{Host, Record};
use crate::metadata::Metadata;
use crate::{Job, Level};

/// A progress report of a job.
///
/// ```
/// use jobwright_guest::testing::TestJob;
///
/// let job = TestJob::new();
/// job.progress(0.5, "row 1 of 2");
/// let progress = &job.reported()[0];
/// assert_eq!((progress.fraction, &*progress.message), (Some(0.5), "row 1 of 2"));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// From 0 to 1; `None` if it is unknown.
    pub fraction: Option<f64>,
    /// The message of the report.
    pub message: String,
}

/// A [`Job`] to call a job's function with. A test sets what the host would return, and reads what the job
/// reported.
///
/// `&TestJob` can be given where `&Job` is taken.
///
/// ```
/// use jobwright_guest::Job;
/// use jobwright_guest::testing::TestJob;
///
/// let test = TestJob::new();
/// let job: &Job = &test;
/// assert!(!job.is_cancelled());
/// ```
#[derive(Debug)]
pub struct TestJob(Job);

impl Default for TestJob {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for TestJob {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.0
    }
}

impl TestJob {
    /// The only attempt at the job `local`, without arguments, checkpoint or limits.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// assert_eq!(TestJob::new().attempt(), 1);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self(Job::new(Metadata::default(), Host::default()))
    }

    /// The same with this id.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// assert_eq!(TestJob::new().with_id("0199-7").id(), "0199-7");
    /// ```
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        self.with_metadata(|metadata| metadata.id = id.into())
    }

    /// The same as attempt `attempt` of at most `max_attempts`, all earlier attempts having failed.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// let job = TestJob::new().with_attempt(2, 5);
    /// assert_eq!((job.attempt(), job.max_attempts()), (2, 5));
    /// assert_eq!((job.failures(), job.attempts_left()), (1, 3));
    /// ```
    #[must_use]
    pub fn with_attempt(self, attempt: u32, max_attempts: u32) -> Self {
        self.with_metadata(|metadata| {
            (metadata.attempt, metadata.max_attempts) = (attempt, max_attempts)
        })
    }

    /// The same with these arguments.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// assert_eq!(TestJob::new().with_args(["12"]).args(), ["12"]);
    /// ```
    #[must_use]
    pub fn with_args(self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_metadata(|metadata| metadata.args = args.into_iter().map(Into::into).collect())
    }

    /// The same with these named values.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// assert_eq!(TestJob::new().with_env([("COLOUR", "blue")]).var("COLOUR"), Some("blue"));
    /// ```
    #[must_use]
    pub fn with_env(
        self,
        env: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        let env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.with_metadata(|metadata| metadata.env = env)
    }

    /// The same with these tags.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// assert_eq!(TestJob::new().with_tags(["nightly"]).tags(), ["nightly"]);
    /// ```
    #[must_use]
    pub fn with_tags(self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        self.with_metadata(|metadata| metadata.tags = OnceLock::from(tags))
    }

    /// The same with the checkpoint of an earlier attempt.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// assert!(TestJob::new().with_checkpoint("row 7").checkpoint().load().is_some());
    /// ```
    #[must_use]
    pub fn with_checkpoint(self, state: impl Into<Vec<u8>>) -> Self {
        self.played(|record| record.checkpoint = Some(state.into()))
    }

    /// The same with a limit on the length of checkpoints.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// assert!(TestJob::new().with_checkpoint_limit(3).checkpoint().save(b"long").is_err());
    /// ```
    #[must_use]
    pub fn with_checkpoint_limit(self, bytes: usize) -> Self {
        self.played(|record| record.checkpoint_limit = Some(bytes))
    }

    /// The same with this remaining time and fuel.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// use std::time::Duration;
    ///
    /// let job = TestJob::new().with_remaining(Duration::from_secs(2), Some(1_000));
    /// assert_eq!((job.remaining().as_millis(), job.remaining_fuel()), (2_000, Some(1_000)));
    /// ```
    #[must_use]
    pub fn with_remaining(self, time: Duration, fuel: Option<u64>) -> Self {
        self.played(|record| (record.remaining, record.remaining_fuel) = (time, fuel))
    }

    /// The same, cancelled after so many calls of [`Job::is_cancelled`].
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// let job = TestJob::new().cancelled_after(1);
    /// assert_eq!([job.is_cancelled(), job.is_cancelled()], [false, true]);
    /// ```
    #[must_use]
    pub fn cancelled_after(self, asks: u32) -> Self {
        self.played(|record| record.asks_left = Some(asks))
    }

    /// Every progress that the job reported.
    ///
    /// ```
    /// # use jobwright_guest::testing::TestJob;
    /// assert!(TestJob::new().reported().is_empty());
    /// ```
    #[must_use]
    pub fn reported(&self) -> Vec<Progress> {
        self.0.host.record().progress.clone()
    }

    /// Every line that the job logged through its [`Job`].
    ///
    /// ```
    /// use jobwright_guest::Level;
    /// # use jobwright_guest::testing::TestJob;
    /// let job = TestJob::new();
    /// job.warn("empty");
    /// assert_eq!(job.logged(), [(Level::Warn, "empty".to_owned())]);
    /// ```
    #[must_use]
    pub fn logged(&self) -> Vec<(Level, String)> {
        self.0.host.record().log.clone()
    }

    fn with_metadata(mut self, tell: impl FnOnce(&mut Metadata)) -> Self {
        tell(self.0.metadata_mut());
        self
    }

    fn played(self, play: impl FnOnce(&mut Record)) -> Self {
        play(&mut self.0.host.record());
        self
    }
}
