//! A job with all that belongs to it, for rows that have it in one piece.

use bytes::Bytes;

use super::super::rows::{FinalizedRow, Kept, Place, RowChange};
use crate::attempt::Lease;
use crate::change::Position;
use crate::job::{Job, Lifecycle, MAX_RECORDS, NewJob, OutputInfo, Payload};
use crate::outcome::Output;
use crate::store::Leased;

/// See the documentation of the module.
#[derive(Debug, Clone)]
pub struct StoredJob {
    /// The job.
    pub job: Job,
    /// The payload.
    pub payload: Payload,
    /// The output.
    pub output: Option<Output>,
    /// The checkpoint.
    pub checkpoint: Option<Bytes>,
    /// The position of its latest change.
    pub position: Position,
}

impl StoredJob {
    /// A job that was just accepted.
    #[must_use]
    pub fn new(at: Place, job: NewJob) -> Self {
        let accepted = job.accepted(at.now);
        let (payload, position) = (job.payload, at.position);
        Self { job: accepted, payload, output: None, checkpoint: None, position }
    }

    /// Applies a change.
    pub fn apply(&mut self, change: &RowChange<'_>) {
        let job = &mut self.job;
        self.position = change.position;
        job.lifecycle = change.lifecycle.clone();
        job.attempts.extend(change.ended.map(|ended| ended.record.clone()));
        job.attempts.drain(..job.attempts.len().saturating_sub(MAX_RECORDS));
        job.progress = change.progress.cloned().or(job.progress.take());
        change.checkpoint.apply(&mut self.checkpoint);
        change.output.apply(&mut self.output);
        if change.output != Kept::Stays {
            let attempt = change.lifecycle.attempt;
            job.output = self.output.as_ref().map(|output| OutputInfo {
                content_type: output.content_type.clone(),
                bytes: output.bytes.len() as u64,
                attempt,
            });
        }
    }

    /// Makes a finalized job an unfinished one.
    pub fn revive(&mut self, at: Place, lifecycle: &Lifecycle) {
        self.position = at.position;
        self.job.lifecycle = lifecycle.clone();
        self.job.progress = None;
    }

    /// The parts of it that a worker gets.
    #[must_use]
    pub fn leased(&self, lease: Lease) -> Leased {
        let Self { job, payload, checkpoint, .. } = self.clone();
        Leased { lease, job, payload, checkpoint }
    }

    /// It as a job that can be removed.
    #[must_use]
    pub fn finalized(&self) -> FinalizedRow {
        let output_bytes = self.job.output.as_ref().map_or(0, |output| output.bytes);
        FinalizedRow {
            id: self.job.id,
            tenant: self.job.spec.tenant.clone(),
            position: self.position,
            apart: None,
            bytes: self.payload.bytes.len() as u64 + output_bytes,
        }
    }
}
