//! The committed state, as readers see it.

use jobwright_core::change::Position;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Dedup, Job, JobId, Payload, UsedKey};
use jobwright_core::outcome::Output;
use jobwright_core::store::{ChangedSince, JobFilter, JobPage, Page};
use jobwright_core::tenant::TenantName;

/// The reads of a driver that do not go through the ledger. Each method sees one commit.
pub trait View {
    /// Why the rows cannot be read.
    type Error;

    /// One job.
    fn get(&self, id: JobId) -> Result<Option<Job>, Self::Error>;

    /// The payload of a job.
    fn payload(&self, id: JobId) -> Result<Option<Payload>, Self::Error>;

    /// The output of a job.
    fn output(&self, id: JobId) -> Result<Option<Output>, Self::Error>;

    /// The tenant's key that is equal to that of `dedup`, if there is one. It may have ended.
    fn key(&self, tenant: &TenantName, dedup: &Dedup) -> Result<Option<UsedKey>, Self::Error>;

    /// A page of jobs, newest first.
    fn list(&self, filter: &JobFilter, page: Page, now: Timestamp) -> Result<JobPage, Self::Error>;

    /// The latest state of jobs that changed after `position`, at most `most`, in the order of their changes.
    fn changed_since(&self, position: Position, most: usize) -> Result<ChangedSince, Self::Error>;
}

/// The cost of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadKind {
    /// It finds a row by its key.
    Lookup,
    /// It goes through many rows.
    Listing,
}
