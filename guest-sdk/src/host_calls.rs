//! The calls of the host that a running job can make.

use std::fmt::Display;
use std::time::Duration;

use crate::{Checkpoint, Job, Level};

/// Defines one function for each level.
macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident $level:ident)*) => {
        $($(#[$doc])*
        ///
        /// ```
        /// # let job = jobwright_guest::testing::TestJob::new();
        #[doc = concat!("job.", stringify!($name), "(\"three lines were empty\");")]
        #[doc = concat!("# assert_eq!(job.logged()[0].0, jobwright_guest::Level::", stringify!($level), ");")]
        /// ```
        pub fn $name(&self, message: impl Display) {
            self.log(Level::$level, message);
        })*
    };
}

impl Job {
    /// Writes a line to the job's log. Stderr is part of the log too, without a level and without an
    /// import.
    ///
    /// ```
    /// use jobwright_guest::Level;
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// let empty = 3;
    /// let level = if empty > 0 { Level::Warn } else { Level::Info };
    /// job.log(level, format_args!("{empty} lines were empty"));
    /// ```
    pub fn log(&self, level: Level, message: impl Display) {
        self.host.log(level, &message.to_string());
    }

    levels! {
        /// Writes a line of [`Level::Trace`] to the job's log.
        trace Trace
        /// Writes a line of [`Level::Debug`] to the job's log.
        debug Debug
        /// Writes a line of [`Level::Info`] to the job's log.
        info Info
        /// Writes a line of [`Level::Warn`] to the job's log.
        warn Warn
        /// Writes a line of [`Level::Error`] to the job's log.
        error Error
        /// Writes a line of [`Level::Critical`] to the job's log.
        critical Critical
    }

    /// Reports the progress of the job: from 0 to 1, or `None` if it is unknown. Call it as often as you
    /// like; the host keeps the latest report.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// job.progress(None, "reading");
    /// let (row, rows) = (250, 1000);
    /// job.progress(f64::from(row) / f64::from(rows), format_args!("row {row} of {rows}"));
    /// # assert_eq!(job.reported().last().unwrap().fraction, Some(0.25));
    /// ```
    pub fn progress(&self, fraction: impl Into<Option<f64>>, message: impl Display) {
        self.host.progress(fraction.into(), &message.to_string());
    }

    /// Whether the attempt should end: the job was cancelled, or the host stops. A job that has called this
    /// function gets a grace period (one second unless the job sets another) to save a checkpoint; a job
    /// that never calls it is stopped at once.
    ///
    /// The result that the job then returns does not matter, except that an output is still kept.
    ///
    /// ```
    /// use jobwright_guest::{Job, JobError};
    ///
    /// fn search(job: &Job) -> Result<u64, JobError> {
    ///     for candidate in 1.. {
    ///         if job.is_cancelled() {
    ///             return Err(JobError::retry(format!("stopped at {candidate}")));
    ///         }
    ///         # let is_found = |n| n == 7;
    ///         if is_found(candidate) {
    ///             return Ok(candidate);
    ///         }
    ///     }
    ///     Err(JobError::permanent("there is none"))
    /// }
    /// # use jobwright_guest::testing::TestJob;
    /// # assert_eq!(search(&TestJob::new()).unwrap(), 7);
    /// # assert!(search(&TestJob::new().cancelled_after(3)).is_err());
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    /// The remaining time of the attempt; [`Duration::MAX`] without a host.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// let exact = job.remaining() > Duration::from_secs(10);
    /// # assert!(exact);
    /// ```
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.host.remaining()
    }

    /// The remaining fuel of the attempt; `None` if it is unlimited.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// let exact = job.remaining_fuel().is_none_or(|fuel| fuel > 1_000_000_000);
    /// # assert!(exact);
    /// ```
    #[must_use]
    pub fn remaining_fuel(&self) -> Option<u64> {
        self.host.remaining_fuel()
    }

    /// The state that the next attempt gets if this one does not succeed.
    ///
    /// ```
    /// # let job = jobwright_guest::testing::TestJob::new();
    /// assert_eq!(job.checkpoint().load(), None);
    /// ```
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint<'_> {
        Checkpoint::new(&self.host)
    }
}
