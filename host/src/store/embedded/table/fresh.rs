//! The data of recently accepted jobs that a claim needs: kept in memory, so that most claims read
//! no rows.

use std::collections::HashMap;
use std::sync::Arc;

use jobwright_core::attempt::Lease;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId, JobSpec, Lifecycle, NewJob, Payload};
use jobwright_core::ledger::Place;
use jobwright_core::store::Leased;
use jobwright_core::tenant::TenantName;

/// The memory limit of fresh jobs, in bytes. Jobs beyond it are read from disk when they are claimed.
const MOST_BYTES: usize = 64 << 20;

/// That of one tenant: a queue that is paused, or longer than others, leaves room to other tenants.
const MOST_OF_TENANT: usize = MOST_BYTES / 2;

/// The approximate memory of a job in addition to the bytes that its client sent.
const JOB_BYTES: usize = 256;

/// The approximate memory of a specification that it shares with no other job.
const SPEC_BYTES: usize = 1024;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    jobs: HashMap<u64, FreshJob>,
    bytes: usize,
    of_tenants: HashMap<TenantName, usize>,
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
    /// Keeps a job, if there is room. `shares` is true if its specification is in memory in any case.
    pub(super) fn insert(&mut self, at: Place, job: NewJob, shares: bool) {
        let spec_bytes = if shares { 0 } else { SPEC_BYTES };
        let bytes = usize::try_from(job.held_bytes()).unwrap_or(usize::MAX);
        let bytes = bytes.saturating_add(JOB_BYTES + spec_bytes);
        let of_tenant = self.of_tenants.get(&job.spec.tenant).copied().unwrap_or_default();
        let fits = |used: usize, most| used.saturating_add(bytes) <= most;
        if !fits(self.bytes, MOST_BYTES) || !fits(of_tenant, MOST_OF_TENANT) {
            return;
        }
        self.bytes += bytes;
        self.of_tenants.insert(job.spec.tenant.clone(), of_tenant + bytes);
        let NewJob { id, spec, payload, .. } = job;
        self.jobs.insert(at.row, FreshJob { id, spec, payload, created_at: at.now, bytes });
    }

    /// The job in this row, which is not kept any more.
    pub(super) fn take(&mut self, row: u64) -> Option<FreshJob> {
        let job = self.jobs.remove(&row)?;
        self.bytes -= job.bytes;
        if let Some(of_tenant) = self.of_tenants.get_mut(&job.spec.tenant) {
            *of_tenant -= job.bytes;
            if *of_tenant == 0 {
                self.of_tenants.remove(&job.spec.tenant);
            }
        }
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
        for row in 0..MOST_BYTES as u64 >> 20 {
            insert(&mut fresh, row, job("many", 1 << 20), true);
        }
        assert!(fresh.bytes <= MOST_OF_TENANT);
        insert(&mut fresh, 1000, job("few", 1 << 20), true);
        assert!(fresh.take(1000).is_some());
    }

    #[test]
    fn jobs_that_were_taken_make_room() {
        let mut fresh = Fresh::default();
        let size = MOST_OF_TENANT - JOB_BYTES;
        insert(&mut fresh, 1, job("a", size), true);
        insert(&mut fresh, 2, job("a", 1), true);
        assert!(fresh.take(2).is_none(), "there is no room");
        assert!(fresh.take(1).is_some());
        insert(&mut fresh, 3, job("a", size), true);
        assert!(fresh.take(3).is_some());
        assert!(fresh.bytes == 0 && fresh.of_tenants.is_empty());
    }

    #[test]
    fn a_specification_of_its_own_counts() {
        let mut fresh = Fresh::default();
        insert(&mut fresh, 1, job("a", 0), true);
        let shared = fresh.bytes;
        insert(&mut fresh, 2, job("a", 0), false);
        assert_eq!(fresh.bytes - shared, shared + SPEC_BYTES);
    }
}
