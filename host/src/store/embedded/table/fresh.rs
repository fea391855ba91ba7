//! The data of recently accepted jobs that a claim needs: kept in memory, so that most claims read
//! no rows.

use std::collections::HashMap;
use std::sync::Arc;

use jobwright_core::attempt::Lease;
use jobwright_core::capacity::HeldBytes;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId, JobSpec, Lifecycle, NewJob, Payload};
use jobwright_core::ledger::Place;
use jobwright_core::store::Leased;

/// The memory limit of fresh jobs, in bytes. Jobs beyond it are read from disk when they are claimed.
const MOST_BYTES: u64 = 64 << 20;

/// That of one tenant: a queue that is paused, or longer than others, leaves room to other tenants.
const MOST_OF_TENANT: u64 = MOST_BYTES / 2;

/// The approximate memory of a job in addition to the bytes that its client sent.
const JOB_BYTES: u64 = 256;

/// The approximate memory of a specification that it shares with no other job.
const SPEC_BYTES: u64 = 1024;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    jobs: HashMap<u64, FreshJob>,
    held: HeldBytes,
}

/// A job as it was accepted.
#[derive(Debug)]
pub(super) struct FreshJob {
    id: JobId,
    spec: Arc<JobSpec>,
    payload: Payload,
    created_at: Timestamp,
    bytes: u64,
}

impl Fresh {
    /// Keeps a job, if there is room. `shares` is true if its specification is in memory in any case.
    pub(super) fn insert(&mut self, at: Place, job: NewJob, shares: bool) {
        let spec_bytes = if shares { 0 } else { SPEC_BYTES };
        let bytes = job.held_bytes().saturating_add(JOB_BYTES + spec_bytes);
        let fits = |used: u64, most| used.saturating_add(bytes) <= most;
        let of_tenant = self.held.of(&job.spec.tenant);
        if !fits(self.held.bytes(), MOST_BYTES) || !fits(of_tenant, MOST_OF_TENANT) {
            return;
        }
        self.held.add(&job.spec.tenant, bytes);
        let NewJob { id, spec, payload, .. } = job;
        self.jobs.insert(at.row, FreshJob { id, spec, payload, created_at: at.now, bytes });
    }

    /// The job in this row, which is not kept any more.
    pub(super) fn take(&mut self, row: u64) -> Option<FreshJob> {
        let job = self.jobs.remove(&row)?;
        self.held.remove(&job.spec.tenant, job.bytes);
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

#[cfg(test)]
mod tests {
    use jobwright_core::change::Position;

    use super::*;
    use crate::store::drafts;

    /// A job of `tenant` with a payload of `payload_bytes`.
    fn job(tenant: &str, payload_bytes: usize) -> NewJob {
        let mut job = drafts::job(payload_bytes);
        Arc::make_mut(&mut job.spec).tenant = tenant.parse().unwrap();
        job
    }

    fn insert(fresh: &mut Fresh, row: u64, job: NewJob, shares: bool) {
        let (position, now) = (Position::default(), Timestamp::UNIX_EPOCH);
        fresh.insert(Place { row, position, now }, job, shares);
    }

    #[test]
    fn a_tenant_with_many_jobs_leaves_room_to_others() {
        let mut fresh = Fresh::default();
        for row in 0..MOST_BYTES >> 20 {
            insert(&mut fresh, row, job("many", 1 << 20), true);
        }
        assert!(fresh.held.bytes() <= MOST_OF_TENANT);
        insert(&mut fresh, 1000, job("few", 1 << 20), true);
        assert!(fresh.take(1000).is_some());
    }

    #[test]
    fn jobs_that_were_taken_make_room() {
        let mut fresh = Fresh::default();
        let size = usize::try_from(MOST_OF_TENANT - JOB_BYTES).unwrap();
        insert(&mut fresh, 1, job("a", size), true);
        insert(&mut fresh, 2, job("a", 1), true);
        assert!(fresh.take(2).is_none(), "there is no room");
        assert!(fresh.take(1).is_some());
        insert(&mut fresh, 3, job("a", size), true);
        assert!(fresh.take(3).is_some());
        assert_eq!(fresh.held.bytes(), 0);
    }

    #[test]
    fn a_specification_of_its_own_counts() {
        let mut fresh = Fresh::default();
        insert(&mut fresh, 1, job("a", 0), true);
        let shared = fresh.held.bytes();
        insert(&mut fresh, 2, job("a", 0), false);
        assert_eq!(fresh.held.bytes() - shared, shared + SPEC_BYTES);
    }
}
