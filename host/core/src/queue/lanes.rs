//! Lanes: the jobs that are due, by tenant and queue, and which of them begins next.
//!
//! The tenant with the fewest attempts in flight is served, and of these the one that was served
//! longest ago. Of its queues, the one with the fewest attempts in flight is served, and of these the
//! one whose first job has the least sort key. A queue or a tenant with a large share leaves a
//! [`Reserve`](super::Reserve) free.
//!
//! Tenants and lanes are kept in the order in which they are served, so a pick costs a logarithm of
//! their number. It passes over few of them: those with a large share, those whose first job needs more
//! memory than is free (a claim bounds their number), and those with suspects only.

use std::collections::{BTreeMap, BTreeSet};

use super::reserve::{Offer, Share};
use crate::clock::Timestamp;
use crate::hold::Facts;
use crate::job::{JobId, QueueName};
use crate::tenant::TenantName;

/// A job's place in the order: its sort key, then its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// When the job is due, later by the head start of higher priorities.
    pub(super) sort_key: Timestamp,
    /// The order of arrival.
    pub(super) arrival: u64,
}

/// A job that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) id: JobId,
    pub(super) memory_bytes: u64,
}

/// What a pick chooses by.
#[derive(Clone, Copy)]
pub(super) struct Pick<'a> {
    /// What is free, and what large shares leave free.
    pub(super) offer: Offer<'a>,
    /// Lanes that are not served in this claim any more.
    pub(super) passed: &'a BTreeSet<(TenantName, QueueName)>,
    /// Whether a suspect may begin.
    pub(super) may: &'a dyn Fn(JobId) -> bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    tenants: BTreeMap<TenantName, Tenant>,
    /// The tenants that may be served, by attempts in flight and the turn in which each was served last.
    turns: BTreeSet<(usize, u64, TenantName)>,
    /// At most so many attempts in flight of these tenants.
    most: BTreeMap<TenantName, usize>,
    served: u64,
}

#[derive(Debug, Default)]
struct Tenant {
    share: Share,
    /// The turn in which it was served last.
    served: u64,
    lanes: BTreeMap<QueueName, Lane>,
    /// The lanes with a job that is due, by attempts in flight and the place of their first job.
    turns: BTreeSet<(usize, Place, QueueName)>,
    /// Suspects that are due: few jobs are.
    suspects: BTreeMap<Place, (QueueName, Due)>,
}

#[derive(Debug, Default)]
struct Lane {
    share: Share,
    due: BTreeMap<Place, Due>,
}

impl Lane {
    fn turn(&self) -> Option<(usize, Place)> {
        self.due.first_key_value().map(|(place, _)| (self.share.held.attempts, *place))
    }
}

impl Tenant {
    /// Its place among tenants, if it has a job that is due and fewer than `most` attempts in flight.
    fn turn(&self, most: Option<usize>) -> Option<(usize, u64)> {
        let running = self.share.held.attempts;
        let has_due = !self.turns.is_empty() || !self.suspects.is_empty();
        (has_due && most.is_none_or(|most| running < most)).then_some((running, self.served))
    }

    /// Changes a lane, and its place among those of the tenant.
    fn change(&mut self, queue: &QueueName, step: impl FnOnce(&mut Lane)) {
        let lane = self.lanes.entry(queue.clone()).or_default();
        let before = (lane.turn(), lane.due.len());
        step(lane);
        let now = (lane.turn(), lane.due.len());
        lane.share.waiting = now.1;
        self.share.waiting = self.share.waiting + now.1 - before.1;
        if before.0 != now.0 {
            if let Some((running, place)) = before.0 {
                self.turns.remove(&(running, place, queue.clone()));
            }
            if let Some((running, place)) = now.0 {
                self.turns.insert((running, place, queue.clone()));
            }
        }
    }

    /// The job that begins next.
    fn next(&self, name: &TenantName, pick: &Pick<'_>) -> Option<Due> {
        let share = |queue: &QueueName| {
            self.lanes.get(queue).map_or_else(Share::default, |lane| lane.share)
        };
        let is_open = |queue: &QueueName, due: &Due| {
            let is_passed = || pick.passed.contains(&(name.clone(), queue.clone()));
            pick.offer.allows(&share(queue), &self.share, due.memory_bytes)
                && (pick.passed.is_empty() || !is_passed())
        };
        let suspects = self.suspects.iter();
        let suspect = suspects
            .filter(|(_, (queue, due))| (pick.may)(due.id) && is_open(queue, due))
            .map(|(place, (queue, due))| ((share(queue).held.attempts, *place), *due))
            .min_by_key(|(turn, _)| *turn);
        let lane = self.turns.iter().find_map(|(running, place, queue)| {
            let due = *self.lanes.get(queue)?.due.get(place)?;
            is_open(queue, &due).then_some(((*running, *place), due))
        });
        suspect.into_iter().chain(lane).min_by_key(|(turn, _)| *turn).map(|(_, due)| due)
    }
}

impl Lanes {
    /// Bounds the attempts in flight of a tenant, or not any more.
    pub(super) fn bound(&mut self, tenant: &TenantName, most: Option<usize>) {
        let before = self.turn(tenant);
        match most {
            Some(most) => drop(self.most.insert(tenant.clone(), most)),
            None => drop(self.most.remove(tenant)),
        }
        self.moved(tenant, before);
    }

    /// A job is due.
    pub(super) fn insert(&mut self, facts: &Facts, place: Place, due: Due) {
        self.change(facts, |lane| {
            lane.due.insert(place, due);
        });
    }

    /// As [`Self::insert`], for a suspect.
    pub(super) fn insert_suspect(&mut self, facts: &Facts, place: Place, due: Due) {
        let before = self.turn(&facts.tenant);
        let tenant = self.tenants.entry(facts.tenant.clone()).or_default();
        tenant.suspects.insert(place, (facts.queue.clone(), due));
        self.moved(&facts.tenant, before);
    }

    /// A job does not wait in a lane, whether it was due or not.
    pub(super) fn remove(&mut self, facts: &Facts, place: &Place) {
        let before = self.turn(&facts.tenant);
        let Some(tenant) = self.tenants.get_mut(&facts.tenant) else { return };
        if tenant.suspects.remove(place).is_none() {
            tenant.change(&facts.queue, |lane| {
                lane.due.remove(place);
            });
        }
        self.moved(&facts.tenant, before);
    }

    /// An attempt is in flight.
    pub(super) fn begin(&mut self, facts: &Facts, memory_bytes: u64) {
        self.change_share(facts, |share| share.held.add(memory_bytes));
    }

    /// It is not any more.
    pub(super) fn end(&mut self, facts: &Facts, memory_bytes: u64) {
        self.change_share(facts, |share| share.held.take(memory_bytes));
    }

    /// A job was picked, and begins now.
    pub(super) fn serve(&mut self, facts: &Facts, memory_bytes: u64, offer: &Offer<'_>) {
        let before = self.turn(&facts.tenant);
        self.served += 1;
        let tenant = self.tenants.entry(facts.tenant.clone()).or_default();
        tenant.served = self.served;
        if let Some(lane) = tenant.lanes.get_mut(&facts.queue) {
            offer.begins(&mut lane.share, &mut tenant.share, memory_bytes);
        }
        self.moved(&facts.tenant, before);
    }

    /// The job that begins next.
    pub(super) fn next(&self, pick: &Pick<'_>) -> Option<Due> {
        self.turns.iter().find_map(|(.., name)| self.tenants.get(name)?.next(name, pick))
    }

    /// Whether a job is due of a tenant that may have another attempt in flight.
    pub(super) fn has_due(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Forgets what has neither jobs that are due nor attempts in flight.
    pub(super) fn forget_empty(&mut self, facts: &Facts) {
        let Some(tenant) = self.tenants.get_mut(&facts.tenant) else { return };
        let is_empty = |lane: &Lane| lane.due.is_empty() && lane.share.held.attempts == 0;
        if tenant.lanes.get(&facts.queue).is_some_and(is_empty) {
            tenant.lanes.remove(&facts.queue);
        }
        if tenant.lanes.is_empty() && tenant.suspects.is_empty() {
            self.tenants.remove(&facts.tenant);
        }
    }

    fn change(&mut self, facts: &Facts, step: impl FnOnce(&mut Lane)) {
        let before = self.turn(&facts.tenant);
        let tenant = self.tenants.entry(facts.tenant.clone()).or_default();
        tenant.change(&facts.queue, step);
        self.moved(&facts.tenant, before);
    }

    fn change_share(&mut self, facts: &Facts, step: impl Fn(&mut Share)) {
        let before = self.turn(&facts.tenant);
        let tenant = self.tenants.entry(facts.tenant.clone()).or_default();
        step(&mut tenant.share);
        tenant.change(&facts.queue, |lane| step(&mut lane.share));
        self.moved(&facts.tenant, before);
    }

    fn turn(&self, tenant: &TenantName) -> Option<(usize, u64)> {
        self.tenants.get(tenant)?.turn(self.most.get(tenant).copied())
    }

    /// Puts a tenant whose place was `before` where it belongs now.
    fn moved(&mut self, tenant: &TenantName, before: Option<(usize, u64)>) {
        let now = self.turn(tenant);
        if before != now {
            if let Some((running, served)) = before {
                self.turns.remove(&(running, served, tenant.clone()));
            }
            if let Some((running, served)) = now {
                self.turns.insert((running, served, tenant.clone()));
            }
        }
    }
}

#[cfg(test)]
impl Lanes {
    /// Jobs that are due, and attempts in flight.
    pub(super) fn totals(&self) -> (usize, usize) {
        let due = |tenant: &Tenant| {
            tenant.lanes.values().map(|lane| lane.due.len()).sum::<usize>() + tenant.suspects.len()
        };
        let running = |tenant: &Tenant| {
            let by_lane: usize = tenant.lanes.values().map(|lane| lane.share.held.attempts).sum();
            assert_eq!(by_lane, tenant.share.held.attempts);
            let waiting: usize = tenant.lanes.values().map(|lane| lane.due.len()).sum();
            assert_eq!(waiting, tenant.share.waiting);
            by_lane
        };
        (self.tenants.values().map(due).sum(), self.tenants.values().map(running).sum())
    }
}
