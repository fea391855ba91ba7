//! The data of recently accepted jobs that a claim needs: kept in memory, so that most claims read
//! no rows.

use std::collections::HashMap;
use std::sync::Arc;

use jobwright_core::attempt::Lease;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId, JobSpec, Lifecycle, NewJob, Payload};
use jobwright_core::ledger::Place;
use jobwright_core::store::Leased;

/// The memory limit of fresh jobs, in bytes. Jobs beyond it are read from disk when they are claimed.
const MOST_BYTES: usize = 32 << 20;

/// The approximate memory of a job in addition to the bytes that its client sent.
const JOB_BYTES: usize = 256;

/// The approximate memory of a specification that it shares with no other job.
const SPEC_BYTES: usize = 768;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    jobs: HashMap<u64, FreshJob>,
    bytes: usize,
}

/// A job as it was accepted.
#[derive(Debug)]
pub(super) struct FreshJob {
    id: JobId,
    spec: Arc<JobSpec>,
    payload: Payload,
    created_at: Timestamp,
    bytes: usize,
}

impl Fresh {
    pub(super) fn insert(&mut self, at: Place, job: NewJob) {
        let spec_bytes = if Arc::strong_count(&job.spec) > 1 { 0 } else { SPEC_BYTES };
        let bytes = usize::try_from(job.held_bytes()).unwrap_or(usize::MAX);
        let bytes = bytes.saturating_add(JOB_BYTES + spec_bytes);
        if self.bytes.saturating_add(bytes) > MOST_BYTES {
            return;
        }
        self.bytes += bytes;
        let NewJob { id, spec, payload, .. } = job;
        self.jobs.insert(at.row, FreshJob { id, spec, payload, created_at: at.now, bytes });
    }

    /// The job in this row, which is not kept any more.
    pub(super) fn take(&mut self, row: u64) -> Option<FreshJob> {
        let job = self.jobs.remove(&row)?;
        self.bytes -= job.bytes;
        Some(job)
    }
}

impl FreshJob {
    /// The parts of it that the worker with `lease` gets.
    pub(super) fn under(self, lease: Lease) -> Leased {
        let Self { id, spec, payload, created_at, .. } = self;
        // The ledger knows where it stands.
        let lifecycle = Lifecycle::new(created_at);
        let (attempts, output, progress) = (vec![], None, None);
        let job = Job { id, spec, created_at, lifecycle, attempts, output, progress };
        Leased { lease, job, payload, checkpoint: None }
    }
}
