//! The trait that changes jobs, and its answers.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::StoreError;
use crate::attempt::{AttemptRecord, Lease};
use crate::capacity::QueueFull;
use crate::change::ChangeStream;
use crate::clock::Timestamp;
use crate::hold::Hold;
use crate::host::HostId;
use crate::job::{CancelRequest, Dedup, Job, JobId, JobState, NewJob, Payload, UsedKey, Verdict};
use crate::outcome::Output;
use crate::plugin::{PluginName, Version};
use crate::queue::{Claim, Renewal};
use crate::report::ProgressUpdate;
use crate::tenant::TenantName;

/// What changes jobs. Each method is one atomic step: it happens entirely or not at all, and what it
/// returned survives a crash from then on. The time is always passed in; a driver reads no clock.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Accepts jobs, each on its own: a full queue refuses the rest, in order. Returns when those that
    /// were accepted are on disk.
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Timestamp)
    -> Result<Vec<Enqueued>, StoreError>;

    /// Ends waiting jobs whose time to live or deadline is over, then begins attempts of a host at jobs that
    /// are due, in the order of [`Queue`](crate::queue::Queue).
    async fn claim(&self, want: Claim, now: Timestamp) -> Result<Claimed, StoreError>;

    /// Extends leases; returns one renewal for each, in order. A lease that another host holds is lost.
    async fn renew(
        &self,
        leases: Vec<Lease>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Renewal>, StoreError>;

    /// Notes that `host` lives while it runs attempts: after its death, those that had begun less than
    /// [`WATCH`](crate::job::WATCH) before count against their jobs. Its claims, renewals and finishes note it
    /// too.
    async fn alive(&self, host: HostId, now: Timestamp) -> Result<(), StoreError>;

    /// Ends the attempt that the lease holds.
    async fn finish(&self, finish: Arc<Finish>, now: Timestamp) -> Result<Finished, StoreError>;

    /// Cancels a waiting job or asks the attempt of a running one to stop; `None` if unknown.
    async fn request_cancel(
        &self,
        id: JobId,
        now: Timestamp,
    ) -> Result<Option<CancelRequest>, StoreError>;

    /// Cancels the oldest unfinished jobs that `hold` covers and whose cancellation was not requested
    /// before, at most `most`; returns which, and what became of each.
    async fn cancel_covered(
        &self,
        hold: Hold,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<(JobId, CancelRequest)>, StoreError>;

    /// Makes a job due now, a finalized one again; `None` if unknown.
    async fn redrive(&self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, StoreError>;

    /// Takes back at most `most` running jobs whose lease has expired; returns those that this finalized
    /// or made due.
    async fn reclaim_expired(&self, now: Timestamp, most: usize) -> Result<Vec<JobId>, StoreError>;

    /// Removes at most `most` finalized jobs, and what belongs to them, that are older than their
    /// retention, and keys that have ended; returns how many jobs were removed.
    async fn prune(&self, retention: Retention, most: usize) -> Result<usize, StoreError>;

    /// The committed changes.
    fn changes(&self) -> Arc<ChangeStream>;

    /// How many unfinished jobs need the plugin, or this version of it: those that are accepted, and
    /// those that are just being so. Whether a plugin may be removed depends on it.
    async fn uses(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
        version: Option<&Version>,
    ) -> Result<usize, StoreError>;

    /// About how many bytes the store can use for jobs before its files grow: free pages where jobs are, and
    /// what finalized jobs take, which give way to new ones. From memory, and a hint: nothing but the floor
    /// of free disk space depends on it.
    fn spare_bytes(&self) -> u64;

    /// Why no job of any tenant is accepted: the store holds all that it may. From memory, and a hint:
    /// readiness is reported by it, and an enqueue decides for itself.
    fn full(&self) -> Option<QueueFull>;

    /// Whether the store takes jobs. From memory, and a hint: as of the latest command.
    ///
    /// # Errors
    /// [`StoreError`] with the reason, if it does not.
    fn ready(&self) -> Result<(), StoreError>;
}

/// The answer to an enqueue.
#[derive(Debug, Clone, PartialEq)]
pub enum Enqueued {
    /// It is on disk.
    Inserted,
    /// Its key was used for the same submission before: the job of that, as it stood when it was accepted.
    Duplicate(Box<Job>),
    /// Its key was used for another submission before.
    KeyReused,
    /// There is no room.
    QueueFull(QueueFull),
}

impl Enqueued {
    /// The answer to a submission with `dedup`, whose key `used` is; `None` if that has ended.
    #[must_use]
    pub fn repeated(used: UsedKey, dedup: &Dedup, now: Timestamp) -> Option<Self> {
        match used.dedup.fingerprint == dedup.fingerprint {
            _ if used.dedup.until <= now => None,
            true => Some(Self::Duplicate(Box::new(used.first))),
            false => Some(Self::KeyReused),
        }
    }
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Claimed {
    /// The attempts that begin.
    pub leased: Vec<Leased>,
    /// When the next job becomes due that is not yet: a time to claim again, even without a hint.
    pub next_due: Option<Timestamp>,
    /// Whether a job is due that was not claimed.
    pub more: bool,
}

/// A claimed job.
#[derive(Debug, Clone, PartialEq)]
pub struct Leased {
    /// The right to try it.
    pub lease: Lease,
    /// The job; its lifecycle says `Running`.
    pub job: Job,
    /// What the guest reads.
    pub payload: Payload,
    /// What an earlier attempt saved, to go on from.
    pub checkpoint: Option<Bytes>,
}

/// The end of an attempt, to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// The right to write it.
    pub lease: Lease,
    /// What to write.
    pub verdict: Verdict,
    /// What to remember of the attempt.
    pub record: AttemptRecord,
    /// What the attempt left. A success takes the place of what failures left; what a failure left of a
    /// job that goes on is kept if there is room for it.
    pub output: Option<Output>,
    /// What the attempt told. The checkpoint is kept if another attempt follows.
    pub told: ProgressUpdate,
}

impl Finish {
    /// What is kept of what the attempt told: a checkpoint only if another attempt may go on from it.
    #[must_use]
    pub fn kept(&self) -> ProgressUpdate {
        let last = matches!(self.verdict, Verdict::Complete | Verdict::Discard | Verdict::Cancel);
        let checkpoint = self.told.checkpoint.clone().filter(|_| !last);
        ProgressUpdate { checkpoint, ..self.told.clone() }
    }
}

/// The answer to a finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// It is written; this is the state now.
    Recorded(JobState),
    /// The lease was taken away: what the attempt did does not count.
    LeaseLost,
}

/// The answer to a redrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redriven {
    /// It is due now.
    Due,
    /// It is running.
    Running,
    /// It was over, and there is no room for one more unfinished job.
    QueueFull(QueueFull),
}

/// Until when finalized jobs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Completed and cancelled jobs that were finalized before this are removed.
    pub completed_before: Timestamp,
    /// Discarded and expired jobs that were finalized before this are removed.
    pub discarded_before: Timestamp,
    /// The present, at which keys end.
    pub now: Timestamp,
}

impl Retention {
    /// Whether a job that was finalized in `state` at `at` is removed.
    #[must_use]
    pub fn expired(&self, state: JobState, at: Timestamp) -> bool {
        let before = if state.has_failed() { self.discarded_before } else { self.completed_before };
        state.is_finalized() && at < before
    }
}
