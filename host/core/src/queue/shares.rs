//! Who is served next: tenants share the workers.
//!
//! Of those with a job that may begin, the tenant with the fewest attempts in flight is served, and
//! of these the one that was served longest ago. So the jobs of one who has few wait for a worker,
//! and not for the jobs of one who has many.

use std::collections::{BTreeMap, BTreeSet};

use super::Place;
use crate::job::JobId;
use crate::tenant::TenantName;

/// What is due, by tenant.
#[derive(Debug, Default)]
pub(super) struct Shares {
    shares: BTreeMap<TenantName, Share>,
    /// At most so many attempts in flight of these tenants.
    most: BTreeMap<TenantName, usize>,
    turns: u64,
}

#[derive(Debug, Default)]
struct Share {
    running: usize,
    /// The turn in which it was served last.
    served: u64,
    ready: BTreeMap<Place, JobId>,
    /// As `ready`, but jobs that are suspects.
    suspects: BTreeMap<Place, JobId>,
}

impl Share {
    fn is_empty(&self) -> bool {
        self.running == 0 && self.ready.is_empty() && self.suspects.is_empty()
    }

    fn first(&self, may: impl Fn(JobId) -> bool) -> Option<JobId> {
        let suspect = self.suspects.iter().find(|(_, id)| may(**id));
        let first = [self.ready.first_key_value(), suspect].into_iter().flatten().min();
        first.map(|(_, id)| *id)
    }
}

impl Shares {
    /// Bounds the attempts of a tenant, or not any more.
    pub(super) fn bound(&mut self, tenant: &TenantName, most: Option<usize>) {
        match most {
            Some(most) => drop(self.most.insert(tenant.clone(), most)),
            None => drop(self.most.remove(tenant)),
        }
    }

    /// A job may begin from now on.
    pub(super) fn ready(&mut self, tenant: &TenantName, place: Place, id: JobId, suspect: bool) {
        let share = self.share(tenant);
        let jobs = if suspect { &mut share.suspects } else { &mut share.ready };
        jobs.insert(place, id);
    }

    /// It does not, whether it was said that it may or not.
    pub(super) fn remove(&mut self, tenant: &TenantName, place: &Place) {
        let share = self.share(tenant);
        share.ready.remove(place);
        share.suspects.remove(place);
    }

    /// An attempt of a tenant is in flight.
    pub(super) fn begin(&mut self, tenant: &TenantName) {
        self.share(tenant).running += 1;
    }

    /// It is not any more.
    pub(super) fn end(&mut self, tenant: &TenantName) {
        self.share(tenant).running -= 1;
    }

    /// A tenant was served.
    pub(super) fn serve(&mut self, tenant: &TenantName) {
        self.turns += 1;
        let turn = self.turns;
        self.share(tenant).served = turn;
    }

    /// The job that begins next, of the suspects only those that `may`, and of no tenant that is
    /// `passed_by`.
    pub(super) fn first(
        &self,
        passed_by: &BTreeSet<TenantName>,
        may: impl Fn(JobId) -> bool,
    ) -> Option<JobId> {
        let has_room =
            |tenant, share: &Share| self.most.get(tenant).is_none_or(|most| share.running < *most);
        let shares = self
            .shares
            .iter()
            .filter(|(tenant, share)| has_room(*tenant, share) && !passed_by.contains(*tenant));
        let first = shares.filter_map(|(_, share)| {
            share.first(&may).map(|id| ((share.running, share.served), id))
        });
        first.min().map(|(_, id)| id)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shares.values().map(|share| share.ready.len() + share.suspects.len()).sum()
    }

    #[cfg(test)]
    pub(super) fn running(&self) -> usize {
        self.shares.values().map(|share| share.running).sum()
    }

    fn share(&mut self, tenant: &TenantName) -> &mut Share {
        self.shares.entry(tenant.clone()).or_default()
    }

    /// Forgets a tenant without jobs.
    pub(super) fn forget_empty(&mut self, tenant: &TenantName) {
        if self.shares.get(tenant).is_some_and(Share::is_empty) {
            self.shares.remove(tenant);
        }
    }
}
