//! The trait that reads jobs, and its answers.

use async_trait::async_trait;

use super::error::StoreError;
use super::jobs::Enqueued;
use crate::change::{Position, ResumeToken};
use crate::clock::Timestamp;
use crate::job::{Dedup, Job, JobId, Payload, Phase, QueueName};
use crate::log::LogSnapshot;
use crate::outcome::Output;
use crate::plugin::{PluginName, Version};
use crate::queue::QueueCounts;
use crate::tenant::TenantName;

/// Reads jobs. A replica may serve it.
#[async_trait]
pub trait JobReads: Send + Sync + 'static {
    /// The answer of an enqueue to a job of the tenant with this key, if the key is in use:
    /// `Duplicate` or `KeyReused`.
    async fn repeated(
        &self,
        tenant: &TenantName,
        dedup: &Dedup,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, StoreError>;

    /// One job; `None` if unknown or pruned.
    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// The payload of a job; `None` if the job is unknown or pruned.
    async fn payload(&self, id: JobId) -> Result<Option<Payload>, StoreError>;

    /// The output of a job, or else that of its latest failed attempt with an output; `None` if the
    /// job is unknown, or has no output.
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

    /// The counts of all queues, of every tenant, that have unfinished jobs or are paused.
    async fn counts(&self, now: Timestamp) -> Result<Vec<QueueCounts>, StoreError>;

    /// The jobs of which `seen` does not include the latest change, at most `most` of them, in the order of
    /// these changes. A subscriber that was cut off reads its way to the present with it.
    async fn changed_since(
        &self,
        seen: &ResumeToken,
        most: usize,
    ) -> Result<ChangedSince, StoreError>;
}

/// The answer to a subscriber that resumes.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangedSince {
    /// The latest state of jobs that changed, each with the position of its latest change. Fewer than
    /// asked for: there are no more.
    Jobs(Vec<(Position, Job)>),
    /// Jobs that changed since were pruned: the subscriber must read everything again, and then resumes with this
    /// token.
    Reset(ResumeToken),
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
    /// Jobs of this tenant.
    pub tenant: Option<TenantName>,
    /// In this phase at the time of the listing.
    pub phase: Option<Phase>,
    /// Only those that are over for good, or only the others.
    pub finalized: Option<bool>,
    /// Jobs of this plugin.
    pub plugin: Option<PluginName>,
    /// Jobs of this version.
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
    /// The start of the next page; `None` after the last page.
    pub next: Option<JobId>,
}

impl JobPage {
    /// The maximum size of the jobs of a page, as [`Job::text_bytes`] counts it, except the last
    /// job: some thousand ordinary jobs, and the host has room for many pages.
    pub const MAX_BYTES: u64 = 2 << 20;

    /// A page of `jobs`, which come newest first and begin where the page begins.
    pub fn of<'a>(
        jobs: impl Iterator<Item = &'a Job>,
        filter: &JobFilter,
        most: usize,
        now: Timestamp,
    ) -> Self {
        let mut matching = jobs.filter(|job| filter.matches(job, now));
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < most && bytes <= Self::MAX_BYTES {
            let Some(job) = matching.next() else { break };
            bytes += job.text_bytes();
            found.push(job.clone());
        }
        let next = matching.next().and_then(|_| found.last().map(|job| job.id));
        Self { jobs: found, next }
    }
}
