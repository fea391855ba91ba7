//! The rows that a ledger keeps: what a driver implements, and all of it.

use bytes::Bytes;

use crate::attempt::{AttemptRecord, Lease};
use crate::capacity::HeldKeys;
use crate::change::Position;
use crate::clock::Timestamp;
use crate::hold::{Hold, HoldNote};
use crate::job::Lifecycle;
use crate::job::{Idempotency, Job, JobId, NewJob};
use crate::outcome::Output;
use crate::plugin::Digest;
use crate::report::Progress;
use crate::store::{Enqueued, Leased, Retention};
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

    /// Writes what became of an unfinished job, which may be finalized now.
    fn write(&mut self, change: &RowChange<'_>) -> Result<(), Self::Error>;

    /// Makes a finalized job an unfinished one, without its progress. Its output stays.
    fn revive(&mut self, at: Place, id: JobId, lifecycle: &Lifecycle) -> Result<(), Self::Error>;

    /// What a worker is given of the job whose attempt began under `lease`.
    fn leased(&mut self, row: u64, lease: Lease)
    -> Result<Result<Leased, Unreadable>, Self::Error>;

    /// A job, and how many bytes its payload has; `None` if unknown or removed.
    fn job(&mut self, id: JobId) -> Result<Option<(Job, u64)>, Self::Error>;

    /// At most `most` finalized jobs that are past their retention.
    fn expired(
        &mut self,
        retention: &Retention,
        most: usize,
    ) -> Result<Vec<FinalizedRow>, Self::Error>;

    /// At most `most` finalized jobs of a tenant, those that ended first.
    fn oldest(
        &mut self,
        tenant: &TenantName,
        most: usize,
    ) -> Result<Vec<FinalizedRow>, Self::Error>;

    /// Removes finalized jobs, with their payloads and outputs.
    fn remove(&mut self, jobs: &[FinalizedRow]) -> Result<(), Self::Error>;

    /// Whether what is kept exceeds `bound`, or the disk is short of space, so that finalized jobs are to
    /// be removed.
    fn is_over(&mut self, bound: &Bound) -> Result<bool, Self::Error>;

    /// Whether `bytes` more can be kept: on a disk that is short of space only where no file grows.
    fn has_room(&mut self, bytes: u64) -> Result<bool, Self::Error>;

    /// Whether the disk has room for checkpoints.
    fn keeps_checkpoints(&self) -> bool;

    /// What a request under this idempotency key was answered: `Duplicate` or `KeyReused`; `None` if the
    /// key is free at `now`.
    fn answered(
        &mut self,
        key: &str,
        fingerprint: Digest,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, Self::Error>;

    /// Remembers the answer to a request, in place of one that has expired.
    fn remember(&mut self, job: JobId, key: &Idempotency) -> Result<(), Self::Error>;

    /// Forgets at most `most` answers that have expired, and returns what the others take.
    fn forget_keys(&mut self, now: Timestamp, most: usize) -> Result<HeldKeys, Self::Error>;

    /// Writes or removes a hold.
    fn set_hold(&mut self, hold: &Hold, note: Option<&HoldNote>) -> Result<(), Self::Error>;

    /// Writes the limits of a tenant; removes them if all are absent.
    fn set_tenant(&mut self, name: &TenantName, limits: TenantLimits) -> Result<(), Self::Error>;
}

/// Where a job is put: its row number, the position of the change, and when that was.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The row number.
    pub row: u64,
    /// The position of the change.
    pub position: Position,
    /// The time of the change.
    pub now: Timestamp,
}

/// What becomes of an unfinished job.
#[derive(Debug)]
pub struct RowChange<'a> {
    /// Its row number.
    pub row: u64,
    /// Its id.
    pub id: JobId,
    /// The position of the change.
    pub position: Position,
    /// Where it stands now.
    pub lifecycle: &'a Lifecycle,
    /// The attempt that ended.
    pub ended: Option<&'a AttemptRecord>,
    /// What its attempt reported of its progress.
    pub progress: Option<&'a Progress>,
    /// Its checkpoint.
    pub checkpoint: Kept<&'a Bytes>,
    /// What its attempts left.
    pub output: Kept<&'a Output>,
}

impl<'a> RowChange<'a> {
    /// Nothing but where the job stands changes.
    #[must_use]
    pub fn new(row: u64, id: JobId, position: Position, lifecycle: &'a Lifecycle) -> Self {
        let (checkpoint, output) = (Kept::Stays, Kept::Stays);
        Self { row, id, position, lifecycle, ended: None, progress: None, checkpoint, output }
    }
}

/// What becomes of something that a row may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept<T> {
    /// It stays as it is.
    Stays,
    /// It goes.
    Goes,
    /// It is this now. An output is that of the latest attempt.
    Is(T),
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

/// How much may be kept.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// At most so many bytes of finalized jobs.
    pub history_bytes: u64,
    /// What finalized jobs are counted with.
    pub counted_bytes: u64,
    /// What is kept of unfinished jobs, which is bounded apart.
    pub apart_bytes: u64,
    /// About what was written since this was last asked.
    pub grown_bytes: u64,
}
