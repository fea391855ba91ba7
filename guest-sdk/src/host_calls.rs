//! What the host does for a job while it runs.

use std::fmt::Display;
use std::time::Duration;

use crate::{Checkpoint, Job, Level};

/// One function a level.
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
    /// Writes a line to the job's log. What goes to stderr becomes part of the log too, without a
    /// level and without an import.
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

    /// Tells how far the job has come: from 0 to 1, or `None` when that cannot be known. Call it as
    /// often as you like, the host keeps the latest.
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

    /// Whether the attempt should end: the job was cancelled, or the host stops. Who has asked once
    /// is given a grace (one second unless the job says otherwise) to save a checkpoint; who never
    /// asks is stopped at once.
    ///
    /// What the job then returns does not matter, except that an output still counts.
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

    /// What is left of the attempt's time; [`Duration::MAX`] where no host runs the program.
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

    /// What is left of the attempt's fuel; none if it is unlimited.
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

    /// The state that the next attempt finds if this one does not come to its end.
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
