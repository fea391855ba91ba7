//! Lanes: the jobs that are due, by tenant and queue.
//!
//! What may be served is kept in the [order](super::order) of claims, tenants by their turn and the lanes of
//! each by theirs, so a pick costs a logarithm of their number and what it passes over. The rest is parked
//! under what wakes it: a lane without due jobs under the next of these, that of a paused queue under its
//! resumption; a tenant at its limit under the end of one of its attempts or another limit, and a disabled one
//! under its enabling. Parked lanes cost a claim nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::in_use::InUse;
use super::lane::Lane;
use super::name::QueueName;
use super::order::due::Due;
use super::order::place::Place;
use super::order::share::{Share, Shares, Turn};
use super::order::view::{self, Head};
use super::tenant::Tenant;
use crate::hold::JobLabels;
use crate::host::HostId;
use crate::tenant::TenantName;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    tenants: BTreeMap<TenantName, Tenant>,
    /// The tenants that may be served, in the order of claims.
    turns: BTreeSet<(Turn, TenantName)>,
    /// At most so many attempts in flight of these tenants.
    limits: BTreeMap<TenantName, usize>,
    held_tenants: BTreeSet<TenantName>,
    held_queues: BTreeMap<TenantName, BTreeSet<QueueName>>,
    /// The number of the latest turn.
    latest: u64,
}

/// A job that was picked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served<'a> {
    /// Its labels, which name its lane.
    pub(super) labels: &'a JobLabels,
    /// Its place there.
    pub(super) place: Place,
    /// The job.
    pub(super) due: &'a Due,
    /// The host that runs it.
    pub(super) host: HostId,
}

impl Lanes {
    /// Sets or removes the bound on the attempts in flight of a tenant.
    pub(super) fn bound(&mut self, tenant: &TenantName, limit: Option<usize>) {
        let before = self.turn(tenant);
        match limit {
            Some(limit) => drop(self.limits.insert(tenant.clone(), limit)),
            None => drop(self.limits.remove(tenant)),
        }
        self.moved(tenant, before);
    }

    /// Bounds tenants as `other` does.
    pub(super) fn bound_as(&mut self, other: &Self) {
        self.limits.clone_from(&other.limits);
    }

    /// Pauses a queue, or resumes it.
    pub(super) fn hold_queue(&mut self, tenant: &TenantName, queue: &QueueName, held: bool) {
        let queues = self.held_queues.entry(tenant.clone()).or_default();
        match held {
            true => drop(queues.insert(queue.clone())),
            false => drop(queues.remove(queue)),
        }
        if queues.is_empty() {
            self.held_queues.remove(tenant);
        }
        self.change_lane(tenant, queue, |lane, _| lane.is_held = held);
    }

    /// Disables a tenant, or enables it.
    pub(super) fn hold_tenant(&mut self, tenant: &TenantName, held: bool) {
        let before = self.turn(tenant);
        match held {
            true => drop(self.held_tenants.insert(tenant.clone())),
            false => drop(self.held_tenants.remove(tenant)),
        }
        self.moved(tenant, before);
    }

    /// Adds a job that is due.
    pub(super) fn insert(&mut self, labels: &JobLabels, place: Place, due: Due) {
        self.arrive(labels);
        self.change(labels, |lane, _| lane.insert(place, due));
    }

    /// Removes a job from its lane, if it is in one.
    pub(super) fn remove(&mut self, labels: &JobLabels, place: &Place) {
        self.change(labels, |lane, _| lane.remove(place));
    }

    /// Counts an attempt that begins.
    pub(super) fn begin(&mut self, labels: &JobLabels, host: HostId, memory_bytes: u64) {
        self.arrive(labels);
        self.change(labels, |lane, tenant| {
            tenant.begin(host, memory_bytes);
            lane.in_use.begin(host, memory_bytes);
        });
    }

    /// Counts an attempt that ended.
    pub(super) fn end(&mut self, labels: &JobLabels, host: HostId, memory_bytes: u64) {
        self.change(labels, |lane, tenant| {
            tenant.end(host, memory_bytes);
            lane.in_use.end(host, memory_bytes);
        });
    }

    /// Takes the job `due` from its place in its lane and counts its attempt; `begin` notes in the shares that it
    /// begins.
    pub(super) fn serve(&mut self, job: &Served<'_>, begin: impl FnOnce(Shares<'_>)) {
        let Served { labels, place, due, host } = *job;
        self.latest += 2;
        let (limit, turn) = (self.limit(&labels.tenant), self.latest);
        self.change(labels, |lane, tenant| {
            let (of_tenant, of_lane) = (tenant.seen_by(host), lane.in_use.seen_by(host));
            begin(Shares { tenant: of_tenant, limit, lane: of_lane, turn });
            lane.remove(&place);
            tenant.begin(host, due.memory_bytes);
            lane.in_use.begin(host, due.memory_bytes);
        });
    }

    /// The tenants that may be served, with the heads of their lanes, in the order of claims.
    pub(super) fn view(
        &self,
        host: HostId,
    ) -> impl Iterator<Item = view::Tenant<impl Iterator<Item = Head<'_>>>> {
        self.turns.iter().filter_map(move |(_, name)| {
            let tenant = self.tenants.get(name)?;
            let (share, limit) = (tenant.in_use.share_on(host), self.limit(name));
            Some(view::Tenant { share, limit, lanes: tenant.heads(host) })
        })
    }

    /// Whether a job is due of a tenant that may have another attempt in flight.
    pub(super) fn has_due(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Removes a lane and a tenant without due jobs and attempts in flight.
    pub(super) fn forget_empty(&mut self, labels: &JobLabels) {
        let Some(tenant) = self.tenants.get_mut(&labels.tenant) else { return };
        if tenant.lanes.get(&labels.queue).is_some_and(Lane::is_empty) {
            tenant.lanes.remove(&labels.queue);
        }
        if tenant.lanes.is_empty() {
            self.tenants.remove(&labels.tenant);
        }
    }

    /// Makes a lane, if there is none.
    fn arrive(&mut self, labels: &JobLabels) {
        let tenant = self.tenants.get(&labels.tenant);
        if tenant.is_some_and(|tenant| tenant.lanes.contains_key(&labels.queue)) {
            return;
        }
        let share = Share::arriving(self.latest);
        let tenant = self.tenants.entry(labels.tenant.clone());
        let tenant = tenant.or_insert_with(|| Tenant::new(share));
        tenant.lanes.entry(labels.queue.clone()).or_insert_with(|| {
            let queues = self.held_queues.get(&labels.tenant);
            let is_held = queues.is_some_and(|queues| queues.contains(&labels.queue));
            Lane::new(share, is_held)
        });
    }

    fn change(&mut self, labels: &JobLabels, step: impl FnOnce(&mut Lane, &mut InUse)) {
        self.change_lane(&labels.tenant, &labels.queue, step);
    }

    /// Changes a lane and the share of its tenant, if there is one, and their places in the order.
    fn change_lane(
        &mut self,
        tenant: &TenantName,
        queue: &QueueName,
        step: impl FnOnce(&mut Lane, &mut InUse),
    ) {
        let limit = self.limit(tenant);
        let Some(found) = self.tenants.get_mut(tenant) else { return };
        let before = found.turn(limit);
        found.change(queue, step);
        let now = found.turn(limit);
        self.place(tenant, before, now);
    }

    /// How many attempts of a tenant may be in flight.
    fn limit(&self, tenant: &TenantName) -> Option<usize> {
        let is_held = self.held_tenants.contains(tenant);
        if is_held { Some(0) } else { self.limits.get(tenant).copied() }
    }

    fn turn(&self, tenant: &TenantName) -> Option<Turn> {
        self.tenants.get(tenant)?.turn(self.limit(tenant))
    }

    /// Puts a tenant whose turn was `before` where it belongs now.
    fn moved(&mut self, tenant: &TenantName, before: Option<Turn>) {
        self.place(tenant, before, self.turn(tenant));
    }

    fn place(&mut self, tenant: &TenantName, before: Option<Turn>, now: Option<Turn>) {
        if before != now {
            if let Some(turn) = before {
                self.turns.remove(&(turn, tenant.clone()));
            }
            if let Some(turn) = now {
                self.turns.insert((turn, tenant.clone()));
            }
        }
    }
}

#[cfg(test)]
impl Lanes {
    /// The turn in which a lane was served last.
    pub(super) fn served(&self, labels: &JobLabels) -> Option<u64> {
        Some(self.tenants.get(&labels.tenant)?.lanes.get(&labels.queue)?.in_use.share().served)
    }

    /// Jobs that are due, and attempts in flight.
    pub(super) fn totals(&self) -> (usize, usize) {
        let tenants = self.tenants.values().map(|tenant| {
            let (lanes, share) = (tenant.lanes.values(), *tenant.in_use.share());
            assert_eq!(lanes.clone().map(Lane::waiting).sum::<usize>(), share.waiting);
            let running: usize =
                lanes.clone().map(|lane| lane.in_use.share().running.attempts).sum();
            assert_eq!(running, share.running.attempts);
            (lanes.map(Lane::len).sum::<usize>(), running)
        });
        tenants.fold((0, 0), |sum, tenant| (sum.0 + tenant.0, sum.1 + tenant.1))
    }
}
