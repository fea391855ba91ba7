//! Submissions, their submitter, and the answers.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use jobwright_core::clock::{Timestamp, after};
use jobwright_core::job::{Dedup, DedupScope, Job, JobId};
use jobwright_core::plugin::Digest;
use jobwright_core::tenant::TenantName;

use super::draft::JobDraft;
use super::refused::{NotAdmitted, Refused};

/// How long a key is remembered.
const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A submitter of jobs, such as a client of the HTTP interface.
pub trait Submitter: Send + Sync {
    /// The tenant of its jobs.
    fn tenant(&self) -> &TenantName;

    /// Whether it is an administrator, who needs no grants.
    fn is_administrator(&self) -> bool;

    /// Checks that it may still submit: its key may be revoked, or its tenant disabled, during a
    /// request.
    ///
    /// # Errors
    /// Why not.
    fn still_admitted(&self) -> Result<(), NotAdmitted>;
}

/// One job that is submitted.
#[derive(Debug)]
pub struct Submission {
    /// The job; `None` if it could not be read. Then it is refused, unless its key is known.
    pub draft: Option<JobDraft>,
    /// Its key, if it has one.
    pub key: Option<RequestKey>,
}

/// A key that makes a submission a repetition of an earlier one of its tenant.
#[derive(Debug, Clone)]
pub struct RequestKey {
    /// The key.
    pub key: String,
    /// A digest of the submission: another one under the same key is refused.
    pub fingerprint: Digest,
}

impl RequestKey {
    /// The uniqueness of a job that is accepted at `now`.
    pub(super) fn dedup(&self, now: Timestamp) -> Dedup {
        Dedup {
            key: self.key.clone(),
            scope: DedupScope::Request,
            fingerprint: self.fingerprint,
            until: after(now, KEY_LIFE),
        }
    }
}

/// The properties of all jobs of one request.
pub struct Order<'a> {
    /// The submitter.
    pub by: &'a dyn Submitter,
    /// Until when they wait for room in their queues; with a time in the past they do not wait.
    pub deadline: Timestamp,
    /// Dropped when the store has answered, and not before.
    pub held: Arc<dyn Any + Send + Sync>,
}

/// The answer about one job.
pub type Answer = Result<Accepted, Refused>;

/// A job that is accepted, as it stood then.
#[derive(Debug)]
pub enum Accepted {
    /// Accepted now.
    New(Box<Job>),
    /// Accepted earlier, under the same key. It may be pruned.
    Repeated(Box<Job>),
}

impl Accepted {
    /// The job, as it stood when it was accepted.
    #[must_use]
    pub fn job(&self) -> &Job {
        match self {
            Self::New(job) | Self::Repeated(job) => job,
        }
    }

    /// The id of the job.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.job().id
    }
}
