//! The seam to where jobs are kept, as four traits by who uses them. Every driver keeps the laws of the
//! conformance suite.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use crate::attempt::{AttemptRecord, Lease};
use crate::capacity::QueueFull;
use crate::change::{ChangeStream, Position, ResumeToken};
use crate::clock::Timestamp;
use crate::hold::{Hold, HoldNote};
use crate::job::Verdict;
use crate::job::{CancelRequest, JobState, Phase};
use crate::job::{Job, JobId, NewJob, Payload, QueueName};
use crate::log::LogSnapshot;
use crate::outcome::Output;
use crate::plugin::{Digest, PluginName, Version};
use crate::queue::QueueCounts;
use crate::report::ProgressUpdate;
use crate::tenant::{TenantLimits, TenantName};

pub use crate::queue::{Claim, Renewal};

/// A store: everything that a host needs of one.
pub trait Store: JobStore + JobReads + Controls + AttemptTraces {}

impl<S: JobStore + JobReads + Controls + AttemptTraces> Store for S {}

/// What changes jobs. Each method is one atomic step: it happens entirely or not at all, and what it
/// returned survives a crash from then on. The time is always passed in; a driver reads no clock.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Accepts jobs, each on its own: a full queue refuses the rest, in order. Returns when those that
    /// were accepted are on disk.
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Timestamp)
    -> Result<Vec<Enqueued>, StoreError>;

    /// Begins attempts at jobs that are due, in the order of [`Queue`](crate::queue::Queue).
    async fn claim(&self, want: Claim, now: Timestamp) -> Result<Claimed, StoreError>;

    /// Extends leases; returns one renewal for each, in order.
    async fn renew(
        &self,
        leases: Vec<Lease>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Renewal>, StoreError>;

    /// Notes that the host lives while it runs attempts: after its death, those that had begun less than
    /// [`WATCH`](crate::job::WATCH) before count against their jobs. Every commit notes it too.
    async fn alive(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Ends the attempt that the lease holds.
    async fn finish(&self, finish: Finish, now: Timestamp) -> Result<Finished, StoreError>;

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
    /// retention, and expired idempotency keys; returns how many jobs were removed.
    async fn prune(&self, retention: Retention, most: usize) -> Result<usize, StoreError>;

    /// The committed changes.
    fn changes(&self) -> Arc<ChangeStream>;

    /// How many unfinished jobs need the plugin, or this version of it: those that are accepted, and
    /// those that are just being so. From memory.
    fn uses(&self, tenant: &TenantName, plugin: &PluginName, version: Option<&Version>) -> usize;

    /// About how many bytes the store can use for jobs before its files grow: free pages where jobs are, and
    /// what finalized jobs take, which give way to new ones. From memory.
    fn spare_bytes(&self) -> u64;

    /// Why no job of any tenant is accepted: the store holds all that it may. From memory.
    fn full(&self) -> Option<QueueFull>;

    /// Whether the store takes jobs.
    ///
    /// # Errors
    /// [`StoreError`] with the reason, if it does not.
    fn ready(&self) -> Result<(), StoreError>;
}

/// What reads jobs. A replica may serve it.
#[async_trait]
pub trait JobReads: Send + Sync + 'static {
    /// What a request under this idempotency key was answered before, as an enqueue would return it:
    /// `Duplicate` or `KeyReused`; `None` if the key is free.
    async fn answered(
        &self,
        key: &str,
        fingerprint: Digest,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, StoreError>;

    /// One job; `None` if unknown or pruned.
    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// What a job's guest reads; `None` if unknown or pruned.
    async fn payload(&self, id: JobId) -> Result<Option<Payload>, StoreError>;

    /// What the success of a job left, or else the latest of its failed attempts that left anything;
    /// `None` if unknown, or nothing is kept.
    async fn output(&self, id: JobId) -> Result<Option<Output>, StoreError>;

    /// The kept logs of a job's attempts, oldest first; of more than [`MAX_RECORDS`](crate::job::MAX_RECORDS) the latest.
    async fn logs(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError>;

    /// Jobs from the newest to the oldest.
    async fn list(
        &self,
        filter: JobFilter,
        page: Page,
        now: Timestamp,
    ) -> Result<JobPage, StoreError>;

    /// What the queues of all tenants hold that have unfinished jobs or are paused.
    async fn counts(&self, now: Timestamp) -> Result<Vec<QueueCounts>, StoreError>;

    /// The jobs of which `seen` does not include the latest change, at most `most` of them, in the order of
    /// these changes. A subscriber that was cut off reads its way to the present with it.
    async fn changed_since(
        &self,
        seen: &ResumeToken,
        most: usize,
    ) -> Result<ChangedSince, StoreError>;
}

/// What administrators set: holds, and the limits of tenants.
#[async_trait]
pub trait Controls: Send + Sync + 'static {
    /// Makes claims pass by what `hold` covers, with a note of who does that and why, which replaces an
    /// earlier one; or without a note, not any more. Survives a restart.
    async fn set_held(&self, hold: Hold, note: Option<HoldNote>) -> Result<(), StoreError>;

    /// What claims pass by, with the note of each.
    async fn holds(&self) -> Result<BTreeMap<Hold, HoldNote>, StoreError>;

    /// Gives a tenant limits of its own; survives a restart. What it holds and runs stays. Setting no
    /// limits removes the tenant's entry.
    async fn set_tenant(&self, tenant: TenantName, limits: TenantLimits) -> Result<(), StoreError>;

    /// The limits of a tenant; all absent if it was given none.
    async fn tenant(&self, name: &TenantName) -> Result<TenantLimits, StoreError>;

    /// The tenants that were given limits, by name.
    async fn tenants(&self) -> Result<Vec<(TenantName, TenantLimits)>, StoreError>;
}

/// What keeps what attempts leave while they run.
#[async_trait]
pub trait AttemptTraces: Send + Sync + 'static {
    /// Keeps the log of an attempt as it is now, in place of what was kept before. May lose the
    /// latest second when the machine loses power.
    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError>;

    /// Keeps what the attempt that holds the lease reported, in place of what was kept before, and forgives
    /// the job its lost attempts; does nothing if the lease was taken away.
    async fn save_progress(&self, lease: Lease, told: ProgressUpdate) -> Result<(), StoreError>;
}

/// The answer to a subscriber that resumes.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangedSince {
    /// The latest state of jobs that changed, each with the position of its latest change. Fewer than
    /// asked for: there are no more.
    Jobs(Vec<(Position, Job)>),
    /// Jobs that changed since were pruned: start anew from the present.
    Reset,
}

/// The store itself failed. Expected answers are values, so `?` is right for these.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It has stopped, or cannot be reached.
    #[error("the job store is unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It holds something that it cannot have written.
    #[error("the job store is corrupt: {what}")]
    Corrupt {
        /// What it holds.
        what: String,
    },
}

/// The answer to an enqueue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It is on disk.
    Inserted,
    /// The idempotency key was used for the same request before.
    Duplicate {
        /// The job of the first request.
        id: JobId,
        /// The body of the first answer.
        answer: Bytes,
    },
    /// The idempotency key was used for another request before.
    KeyReused,
    /// There is no room.
    QueueFull(QueueFull),
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

/// The log of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptLog {
    /// The attempt's number.
    pub attempt: u32,
    /// Its log.
    pub log: LogSnapshot,
}

/// Which jobs to list: all that match every given field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Of this tenant.
    pub tenant: Option<TenantName>,
    /// In this phase at the time of the listing.
    pub phase: Option<Phase>,
    /// Only those that are over for good, or only the others.
    pub finalized: Option<bool>,
    /// Of this plugin.
    pub plugin: Option<PluginName>,
    /// Of this version.
    pub version: Option<Version>,
    /// In this queue.
    pub queue: Option<QueueName>,
    /// With this tag.
    pub tag: Option<String>,
}

impl JobFilter {
    /// Whether jobs that are over for good (`true`), or others, can match at all: drivers keep them
    /// apart, and one kind need not be looked at.
    #[must_use]
    pub fn wants(&self, finalized: bool) -> bool {
        self.finalized.is_none_or(|over| over == finalized)
            && self.phase.is_none_or(|phase| phase.is_finalized() == finalized)
    }

    /// Whether `job` is one of them at `now`.
    #[must_use]
    pub fn matches(&self, job: &Job, now: Timestamp) -> bool {
        let spec = &job.spec;
        self.phase.is_none_or(|phase| job.lifecycle.phase(now) == phase)
            && self.finalized.is_none_or(|over| job.lifecycle.state.is_finalized() == over)
            && self.tenant.as_ref().is_none_or(|tenant| &spec.tenant == tenant)
            && self.plugin.as_ref().is_none_or(|plugin| &spec.plugin == plugin)
            && self.version.as_ref().is_none_or(|version| &spec.version == version)
            && self.queue.as_ref().is_none_or(|queue| &spec.queue == queue)
            && self.tag.as_ref().is_none_or(|tag| spec.tags.contains(tag))
    }
}

/// Which part of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only jobs with smaller ids: where the page before ended.
    pub before: Option<JobId>,
    /// At most so many jobs.
    pub most: usize,
}

/// A part of a listing. It may hold fewer jobs than asked for and still not be the last: a driver
/// looks at a bounded number of jobs for one page, and takes no more once they are long.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// Where the next page begins; none after the last.
    pub next: Option<JobId>,
}

impl JobPage {
    /// What the jobs of a page may take together, as [`Job::text_bytes`] counts, and one more: some
    /// thousand ordinary ones, and the host has room for many pages.
    pub const MAX_BYTES: u64 = 2 << 20;
}

/// Until when finalized jobs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Completed and cancelled jobs that were finalized before this are removed.
    pub completed_before: Timestamp,
    /// Discarded jobs that were finalized before this are removed.
    pub discarded_before: Timestamp,
    /// The present, for idempotency keys.
    pub now: Timestamp,
}

impl Retention {
    /// Whether a job that was finalized in `state` at `at` is removed.
    #[must_use]
    pub fn expired(&self, state: JobState, at: Timestamp) -> bool {
        match state {
            JobState::Discarded => at < self.discarded_before,
            JobState::Completed | JobState::Cancelled => at < self.completed_before,
            JobState::Available | JobState::Running => false,
        }
    }
}
