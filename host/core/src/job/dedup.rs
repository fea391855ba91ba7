//! Uniqueness: a key under which a tenant's job is accepted once.

use super::row::Job;
use super::spec::JobSpec;
use crate::clock::Timestamp;
use crate::digest::Digest;

/// Makes a job unique among the jobs of its tenant: until `until`, no other job is accepted under
/// the same key of the same scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedup {
    /// The key, at most 255 bytes.
    pub key: String,
    /// The scope of the key.
    pub scope: DedupScope,
    /// A digest of the submission: another submission under the same key is refused.
    pub fingerprint: Digest,
    /// When the key may be used again.
    pub until: Timestamp,
}

/// The scope of a key. Equal keys of different scopes are different keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DedupScope {
    /// A request, with an `Idempotency-Key`.
    Request,
}

impl Dedup {
    /// The counted size of a key in addition to its text and to the strings of its job, in bytes:
    /// the rest of the job's specification, the fingerprint, the row and its entries in indexes.
    pub const ROW_BYTES: u64 = 1024;

    /// Its approximate size in the store with the job of `spec`, in bytes.
    #[must_use]
    pub fn bytes(&self, spec: &JobSpec) -> u64 {
        self.key.len() as u64 + spec.held_bytes(0) + Self::ROW_BYTES
    }
}

/// A key in use, with its job as it stood when it was accepted: a repetition can be answered after the job
/// was pruned.
#[derive(Debug, Clone, PartialEq)]
pub struct UsedKey {
    /// The key.
    pub dedup: Dedup,
    /// The job.
    pub first: Job,
}
