//! The rows that a ledger keeps: what a driver implements, and all of it.

use bytes::Bytes;

use crate::attempt::{AttemptRecord, Lease};
use crate::capacity::HeldKeys;
use crate::change::Position;
use crate::clock::Timestamp;
use crate::hold::{Hold, HoldNote};
use crate::job::{Dedup, Job, JobId, Lifecycle, NewJob, UsedKey};
use crate::outcome::Output;
use crate::report::Progress;
use crate::store::{Leased, Retention};
use crate::tenant::{TenantLimits, TenantName};

/// Reads and writes rows, and decides nothing about a job. All calls between two commits are one
/// transaction.
///
/// An unfinished job has a row number, which is also the order of arrival. A finalized job has a
/// [`Position`], that of its last change.
pub trait Rows {
    /// Why the rows cannot be read or written. The transaction is rolled back then.
    type Error: std::fmt::Display;

    /// Adds an unfinished job.
    fn insert(&mut self, at: Place, job: NewJob, lifecycle: &Lifecycle) -> Result<(), Self::Error>;

    /// Writes a change of an unfinished job, which may be finalized now.
    fn write(&mut self, change: &RowChange<'_>) -> Result<(), Self::Error>;

    /// Makes a finalized job an unfinished one, without its progress. Its output stays.
    fn revive(&mut self, at: Place, id: JobId, lifecycle: &Lifecycle) -> Result<(), Self::Error>;

    /// The parts of the job under `lease` that a worker gets.
    fn leased(&mut self, row: u64, lease: Lease)
    -> Result<Result<Leased, Unreadable>, Self::Error>;

    /// A job, and how many bytes its payload has; `None` if unknown or removed.
    fn job(&self, id: JobId) -> Result<Option<(Job, u64)>, Self::Error>;

    /// At most `most` of these finalized jobs, those that ended first.
    fn removable(
        &mut self,
        which: Removable<'_>,
        most: usize,
    ) -> Result<Vec<FinalizedRow>, Self::Error>;

    /// Removes finalized jobs, with their payloads and outputs; most efficiently [`REMOVED_TOGETHER`] at a time.
    fn remove(&mut self, jobs: &[FinalizedRow]) -> Result<(), Self::Error>;

    /// Whether the stored bytes exceed `bound`, or the disk is short of space, so that finalized
    /// jobs must be removed.
    fn is_over(&mut self, bound: &Bound) -> Result<bool, Self::Error> {
        Ok(bound.counted_bytes > bound.history_bytes)
    }

    /// Whether `bytes` more can be kept: on a disk that is short of space only where no file grows.
    fn has_room(&mut self, bytes: u64) -> Result<bool, Self::Error> {
        let _ = bytes;
        Ok(true)
    }

    /// Whether the disk has room for checkpoints.
    fn keeps_checkpoints(&self) -> bool {
        true
    }

    /// The tenant's key that is equal to that of `dedup`, if there is one. It may have ended.
    fn used_key(&self, tenant: &TenantName, dedup: &Dedup) -> Result<Option<UsedKey>, Self::Error>;

    /// Keeps a key with its job, in place of an equal one that has ended.
    fn use_key(&mut self, used: &UsedKey) -> Result<(), Self::Error>;

    /// Removes at most `most` keys that have ended, and returns what the others take.
    fn remove_keys(&mut self, now: Timestamp, most: usize) -> Result<HeldKeys, Self::Error>;

    /// Writes or removes a hold, where rows outlive the ledger.
    fn set_hold(&mut self, hold: &Hold, note: Option<&HoldNote>) -> Result<(), Self::Error> {
        let _ = (hold, note);
        Ok(())
    }

    /// Writes the limits of a tenant, where rows outlive the ledger; removes them if all are absent.
    fn set_tenant(&mut self, name: &TenantName, limits: TenantLimits) -> Result<(), Self::Error> {
        let _ = (name, limits);
        Ok(())
    }
}

/// How many finalized jobs a driver may remove by one statement.
pub const REMOVED_TOGETHER: usize = 32;

/// The place of a new row: its number, the position of the change, and its time.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The row number.
    pub row: u64,
    /// The position of the change.
    pub position: Position,
    /// The time of the change.
    pub now: Timestamp,
}

/// A change of an unfinished job.
#[derive(Debug)]
pub struct RowChange<'a> {
    /// Its row number.
    pub row: u64,
    /// Its id.
    pub id: JobId,
    /// The position of the change.
    pub position: Position,
    /// Its new state.
    pub lifecycle: &'a Lifecycle,
    /// The attempt that ended.
    pub ended: Option<EndedAttempt<'a>>,
    /// The progress that its attempt reported.
    pub progress: Option<&'a Progress>,
    /// Its checkpoint.
    pub checkpoint: Kept<&'a Bytes>,
    /// The change of its output.
    pub output: Kept<&'a Output>,
}

/// An attempt that ended.
#[derive(Debug, Clone, Copy)]
pub struct EndedAttempt<'a> {
    /// Its record.
    pub record: &'a AttemptRecord,
    /// A JSON array with the record as its only element, if the caller of the store made it: the thread that
    /// writes has less to do then.
    pub json: Option<&'a str>,
}

impl<'a> RowChange<'a> {
    /// A change of the state only.
    #[must_use]
    pub fn new(row: u64, id: JobId, position: Position, lifecycle: &'a Lifecycle) -> Self {
        let (checkpoint, output) = (Kept::Stays, Kept::Stays);
        Self { row, id, position, lifecycle, ended: None, progress: None, checkpoint, output }
    }
}

/// A change of an optional part of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept<T> {
    /// It stays as it is.
    Stays,
    /// It goes.
    Goes,
    /// It is this now. An output is that of the latest attempt.
    Is(T),
}

impl<T> Kept<&T> {
    /// Applies the change to `there`.
    pub fn apply(self, there: &mut Option<T>)
    where
        T: Clone,
    {
        match self {
            Kept::Stays => {}
            Kept::Goes => *there = None,
            Kept::Is(new) => *there = Some(new.clone()),
        }
    }
}

/// A selection of finalized jobs to remove.
#[derive(Debug, Clone, Copy)]
pub enum Removable<'a> {
    /// Jobs whose retention has ended.
    Expired(&'a Retention),
    /// Jobs of a tenant.
    Of(&'a TenantName),
}

impl Removable<'_> {
    /// Whether a finalized job is one of them.
    #[must_use]
    pub fn includes(&self, job: &Job) -> bool {
        let Lifecycle { state, finalized_at, .. } = job.lifecycle;
        match self {
            Self::Expired(retention) => finalized_at.is_some_and(|at| retention.expired(state, at)),
            Self::Of(tenant) => job.spec.tenant == **tenant,
        }
    }
}

/// A finalized job that can be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalizedRow {
    /// Its id.
    pub id: JobId,
    /// Its tenant.
    pub tenant: TenantName,
    /// The position of its last change.
    pub position: Position,
    /// The row number under which a large payload or output is kept apart, if there is one.
    pub apart: Option<u64>,
    /// The bytes of its payload and output.
    pub bytes: u64,
}

/// Why a row that should be there cannot be read, though others can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// The bound on stored bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// At most so many bytes of finalized jobs.
    pub history_bytes: u64,
    /// The counted size of finalized jobs.
    pub counted_bytes: u64,
    /// The size of the data of unfinished jobs, which has a bound of its own.
    pub apart_bytes: u64,
    /// The approximate number of bytes that were written since the last check.
    pub grown_bytes: u64,
}
