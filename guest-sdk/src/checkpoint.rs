//! State that survives an attempt.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::JobError;
use crate::backend::Host;

/// State that survives a failed, interrupted or lost attempt, so that the next one can continue where
/// this one stopped. It belongs to the job and is removed when the job is finalized.
///
/// ```
/// use jobwright_guest::{Job, JobError};
///
/// /// Sums the lines, starting at the line that the last attempt reached.
/// #[jobwright_guest::job]
/// fn total(numbers: String, job: &Job) -> Result<i64, JobError> {
///     let (start, mut sum) = job.checkpoint().load_json()?.unwrap_or((0, 0));
///     for (index, line) in numbers.lines().enumerate().skip(start) {
///         sum += line.parse::<i64>()?;
///         if index % 1000 == 999 {
///             job.checkpoint().save_json(&(index + 1, sum))?;
///         }
///     }
///     Ok(sum)
/// }
/// # let job = jobwright_guest::testing::TestJob::new().with_checkpoint("[1,40]");
/// # assert_eq!(total("99\n2".into(), &job).unwrap(), 42);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    host: &'a Host,
}

impl<'a> Checkpoint<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// The latest checkpoint, of this attempt or an earlier one.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new().with_checkpoint("row 7");
    /// assert_eq!(job.checkpoint().load().as_deref(), Some(&b"row 7"[..]));
    /// ```
    #[must_use]
    pub fn load(self) -> Option<Vec<u8>> {
        self.host.load_checkpoint()
    }

    /// Replaces the checkpoint. It is on disk within a second, and at the end of the attempt at the latest.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// job.checkpoint().save(b"row 8")?;
    /// assert_eq!(job.checkpoint().load().as_deref(), Some(&b"row 8"[..]));
    /// # Ok::<(), jobwright_guest::CheckpointTooLarge>(())
    /// ```
    ///
    /// # Errors
    /// If `state` is longer than the job's limit; then the previous checkpoint stays.
    pub fn save(self, state: &[u8]) -> Result<(), CheckpointTooLarge> {
        self.host.save_checkpoint(state)
    }

    /// As [`load`](Self::load), from JSON.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new().with_checkpoint("[7, 42]");
    /// let (row, sum): (usize, i64) = job.checkpoint().load_json()?.unwrap_or_default();
    /// assert_eq!((row, sum), (7, 42));
    /// # Ok::<(), jobwright_guest::JobError>(())
    /// ```
    ///
    /// # Errors
    /// A permanent error, if the checkpoint is not a `T`.
    pub fn load_json<T: DeserializeOwned>(self) -> Result<Option<T>, JobError> {
        let Some(state) = self.load() else { return Ok(None) };
        serde_json::from_slice(&state)
            .map(Some)
            .map_err(|error| JobError::permanent(format!("checkpoint is not as expected: {error}")))
    }

    /// As [`save`](Self::save), as JSON.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// job.checkpoint().save_json(&(8, 45))?;
    /// assert_eq!(job.checkpoint().load().unwrap(), b"[8,45]");
    /// # Ok::<(), jobwright_guest::JobError>(())
    /// ```
    ///
    /// # Errors
    /// A permanent error, if `state` has no JSON form or is longer than the job's limit.
    pub fn save_json<T: Serialize + ?Sized>(self, state: &T) -> Result<(), JobError> {
        Ok(self.save(&serde_json::to_vec(state)?)?)
    }
}

/// A checkpoint is longer than the job's limit `checkpoint_bytes`.
///
/// As a [`JobError`] it is permanent. A job that does not need the checkpoint can continue instead:
///
/// ```
/// # let job = jobwright_guest::testing::TestJob::new().with_checkpoint_limit(3);
/// if let Err(too_large) = job.checkpoint().save(b"long") {
///     job.warn(too_large);
/// }
/// # assert_eq!(job.logged()[0].1, "checkpoint of 4 bytes is longer than the limit of 3 bytes");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointTooLarge {
    /// The length of the checkpoint.
    pub bytes: usize,
    /// The limit, if it is known: a core module does not get it.
    pub limit_bytes: Option<u64>,
}

impl fmt::Display for CheckpointTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint of {} bytes is longer than the limit", self.bytes)?;
        self.limit_bytes.map_or(Ok(()), |limit| write!(f, " of {limit} bytes"))
    }
}

impl std::error::Error for CheckpointTooLarge {}

impl From<CheckpointTooLarge> for JobError {
    fn from(error: CheckpointTooLarge) -> Self {
        Self::permanent(error)
    }
}
