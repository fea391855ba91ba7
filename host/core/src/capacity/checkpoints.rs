//! The size of the checkpoints of unfinished jobs.

use std::collections::{BTreeMap, HashMap};

use crate::job::id::JobId;
use crate::tenant::TenantName;

/// The checkpoints of unfinished jobs, by tenant and length.
#[derive(Debug, Default)]
pub struct Checkpoints {
    owners: HashMap<JobId, TenantName>,
    by_tenant: BTreeMap<TenantName, Held>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    /// By job, which is by age.
    lengths: BTreeMap<JobId, u64>,
}

impl Checkpoints {
    /// The size of all of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts a checkpoint of `length` bytes, in the place of the job's earlier one, if all together may
    /// take `most`. If they exceed it, the oldest checkpoints of the tenant that holds most are removed;
    /// returns the jobs of these. `None` if the checkpoint is not kept, because then its own tenant would hold
    /// most.
    pub fn admit(
        &mut self,
        tenant: &TenantName,
        job: JobId,
        length: u64,
        most: u64,
    ) -> Option<Vec<JobId>> {
        let earlier = self.length(tenant, job);
        let own = self.held(tenant) - earlier + length;
        let over = (self.bytes - earlier).saturating_add(length).saturating_sub(most);
        let displaced = self.displaced(tenant, own, over)?;
        for job in &displaced {
            self.forget(*job);
        }
        self.forget(job);
        let held = self.by_tenant.entry(tenant.clone()).or_default();
        held.bytes += length;
        held.lengths.insert(job, length);
        self.owners.insert(job, tenant.clone());
        self.bytes += length;
        Some(displaced)
    }

    /// Whether the job has a checkpoint.
    #[must_use]
    pub fn has(&self, job: JobId) -> bool {
        self.owners.contains_key(&job)
    }

    /// The job's checkpoint is gone; returns its length, 0 if it had none.
    pub fn forget(&mut self, job: JobId) -> u64 {
        let Some(tenant) = self.owners.remove(&job) else { return 0 };
        let Some(held) = self.by_tenant.get_mut(&tenant) else { return 0 };
        let length = held.lengths.remove(&job).unwrap_or(0);
        (held.bytes, self.bytes) = (held.bytes - length, self.bytes - length);
        if held.lengths.is_empty() {
            self.by_tenant.remove(&tenant);
        }
        length
    }

    /// The jobs whose checkpoints make room for `over` bytes more of a tenant that then holds `own`.
    fn displaced(&self, tenant: &TenantName, own: u64, mut over: u64) -> Option<Vec<JobId>> {
        let others = self.by_tenant.iter().filter(|(other, _)| *other != tenant);
        let mut others: Vec<_> =
            others.map(|(_, held)| (held.bytes, held.lengths.iter())).collect();
        let mut displaced = Vec::new();
        while over > 0 {
            let (bytes, oldest) = others.iter_mut().max_by_key(|(bytes, _)| *bytes)?;
            if *bytes <= own {
                return None;
            }
            let (job, length) = oldest.next()?;
            *bytes -= length;
            over = over.saturating_sub(*length);
            displaced.push(*job);
        }
        Some(displaced)
    }

    fn held(&self, tenant: &TenantName) -> u64 {
        self.by_tenant.get(tenant).map_or(0, |held| held.bytes)
    }

    fn length(&self, tenant: &TenantName, job: JobId) -> u64 {
        let held = self.by_tenant.get(tenant);
        held.and_then(|held| held.lengths.get(&job)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn jobs<const N: usize>() -> [JobId; N] {
        let mut jobs = std::array::from_fn(|_| JobId::new(Timestamp::UNIX_EPOCH));
        jobs.sort_unstable();
        jobs
    }

    #[test]
    fn checkpoints_are_counted_once_for_each_job() {
        let mut held = Checkpoints::default();
        let ([a, b], tenant) = (jobs(), TenantName::default());
        let mut admit = |job, length| held.admit(&tenant, job, length, 10).is_some();
        assert!(admit(a, 6) && !admit(b, 5) && admit(b, 4));
        assert!(admit(a, 5), "in place of the earlier one");
        assert!(!admit(b, 6), "the earlier one stays");
        held.forget(a);
        held.forget(a);
        assert_eq!(held.admit(&tenant, b, 10, 10), Some(vec![]));
    }

    #[test]
    fn room_is_made_by_removing_the_oldest_checkpoints_of_the_largest_tenant() {
        let mut held = Checkpoints::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<TenantName>().expect("a name"));
        let [first, second, third, other, late] = jobs();
        for job in [second, first, third] {
            assert_eq!(held.admit(&a, job, 3, 10), Some(vec![]));
        }
        assert_eq!(held.admit(&b, other, 3, 10), Some(vec![first]));
        assert_eq!(held.admit(&c, late, 2, 10), Some(vec![second]));
        assert_eq!(held.bytes(), 8);
        assert_eq!(held.admit(&a, first, 3, 10), None, "it would hold most");
        assert_eq!(held.admit(&b, other, 9, 10), None, "the same");
        assert_eq!(held.bytes(), 8, "nothing has changed");
    }
}
