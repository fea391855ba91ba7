//! Lanes: the jobs that are due, by tenant and queue, and which of them begins next.
//!
//! The tenant with the fewest attempts in flight is served, and of these the one that was served longest
//! ago. Of its queues, the one with the fewest attempts in flight is served, and of these the one that was
//! served longest ago: so queues alternate also where one attempt runs at a time. A new tenant or queue is
//! served before the one that was served last, and after those that have waited longer. A queue or a tenant
//! with a large share leaves a [`Reserve`](super::Reserve) free.
//!
//! Tenants and lanes are kept in the order in which they are served, so a pick costs a logarithm of
//! their number. It passes over few of them: those with a large share, those whose first job needs more
//! memory than is free (a claim bounds their number), and those with suspects only. Lanes under a
//! hold keep their jobs and are not served.

use std::collections::{BTreeMap, BTreeSet};

use super::lane::{Due, Lane, Place, Turn};
use super::name::QueueName;
use super::reserve::{Offer, Share};
use crate::hold::JobLabels;
use crate::job::id::JobId;
use crate::tenant::TenantName;

/// How many lanes of a tenant a pick examines, in addition to those that this claim skips. At most two have
/// no slots left; more only if the first jobs of all are too large for the memory that the tenant may take,
/// which changes when attempts end.
const MOST_LOOKED: usize = 64;

/// The facts by which a pick chooses.
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
    held_tenants: BTreeSet<TenantName>,
    held_queues: BTreeMap<TenantName, BTreeSet<QueueName>>,
    /// The number of the latest turn. Turns have even numbers: what comes has one between two of them.
    served: u64,
}

#[derive(Debug, Default)]
struct Tenant {
    share: Share,
    /// The turn in which it was served last.
    served: u64,
    lanes: BTreeMap<QueueName, Lane>,
    /// The lanes with a job that is due and not held.
    turns: BTreeSet<(Turn, QueueName)>,
    /// Suspects that are due: few jobs are.
    suspects: BTreeMap<Place, (QueueName, Due)>,
}

impl Tenant {
    /// Its place among tenants, if it has a job that is due and fewer than `most` attempts in flight.
    fn turn(&self, most: Option<usize>) -> Option<(usize, u64)> {
        let running = self.share.held.attempts;
        let has_due = !self.turns.is_empty() || !self.suspects.is_empty();
        (has_due && most.is_none_or(|most| running < most)).then_some((running, self.served))
    }

    /// Changes a lane, which begins as `new`, and its place among those of the tenant.
    fn change(&mut self, queue: &QueueName, new: Lane, step: impl FnOnce(&mut Lane)) {
        let lane = self.lanes.entry(queue.clone()).or_insert(new);
        let before = (lane.turn(), lane.waiting());
        step(lane);
        let now = (lane.turn(), lane.waiting());
        lane.share.waiting = now.1;
        self.share.waiting = self.share.waiting + now.1 - before.1;
        if before.0 != now.0 {
            if let Some(turn) = before.0 {
                self.turns.remove(&(turn, queue.clone()));
            }
            if let Some(turn) = now.0 {
                self.turns.insert((turn, queue.clone()));
            }
        }
    }

    /// The job that begins next of the tenant `name`, which may have at most `most` attempts in flight.
    fn next(&self, name: &TenantName, most: Option<usize>, pick: &Pick<'_>) -> Option<Due> {
        let offer = pick.offer.to(&self.share, most)?;
        let is_passed = |queue: &QueueName| {
            !pick.passed.is_empty() && pick.passed.contains(&(name.clone(), queue.clone()))
        };
        let open = |queue: &QueueName, place: Place, due: Due| {
            let lane = self.lanes.get(queue).filter(|lane| !lane.is_held)?;
            offer.allows(&lane.share, due.memory_bytes).then(|| (lane.turn_of(place), due))
        };
        let suspects = self.suspects.iter();
        let suspect = suspects
            .filter(|(_, (queue, due))| !is_passed(queue) && (pick.may)(due.id))
            .filter_map(|(place, (queue, due))| open(queue, *place, *due))
            .min_by_key(|(turn, _)| *turn);
        let lanes = self.turns.iter().filter(|(_, queue)| !is_passed(queue));
        let lane = lanes.take(MOST_LOOKED).find_map(|(turn, queue)| {
            open(queue, turn.place, *self.lanes.get(queue)?.due.get(&turn.place)?)
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

    /// Bounds tenants as `other` does.
    pub(super) fn bound_as(&mut self, other: &Self) {
        self.most.clone_from(&other.most);
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
        let before = self.turn(tenant);
        if let Some(found) = self.tenants.get_mut(tenant)
            && found.lanes.contains_key(queue)
        {
            found.change(queue, Lane::default(), |lane| lane.is_held = held);
        }
        self.moved(tenant, before);
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
        self.change(labels, |lane| {
            lane.due.insert(place, due);
        });
    }

    /// As [`Self::insert`], for a suspect.
    pub(super) fn insert_suspect(&mut self, labels: &JobLabels, place: Place, due: Due) {
        self.change_both(
            labels,
            |tenant| drop(tenant.suspects.insert(place, (labels.queue.clone(), due))),
            |lane| {
                lane.suspects += 1;
            },
        );
    }

    /// Removes a job from its lane, if it is in one.
    pub(super) fn remove(&mut self, labels: &JobLabels, place: &Place) {
        let before = self.turn(&labels.tenant);
        let Some(tenant) = self.tenants.get_mut(&labels.tenant) else { return };
        let was_suspect = tenant.suspects.remove(place).is_some();
        if tenant.lanes.contains_key(&labels.queue) {
            tenant.change(&labels.queue, Lane::default(), |lane| {
                lane.suspects -= usize::from(was_suspect);
                lane.due.remove(place);
            });
        }
        self.moved(&labels.tenant, before);
    }

    /// Counts an attempt that begins.
    pub(super) fn begin(&mut self, labels: &JobLabels, memory_bytes: u64) {
        self.change_share(labels, |share| share.held.add(memory_bytes));
    }

    /// Counts an attempt that ended.
    pub(super) fn end(&mut self, labels: &JobLabels, memory_bytes: u64) {
        self.change_share(labels, |share| share.held.take(memory_bytes));
    }

    /// A job was picked, and begins now.
    pub(super) fn serve(&mut self, labels: &JobLabels, memory_bytes: u64, offer: &Offer<'_>) {
        let (before, most) = (self.turn(&labels.tenant), self.most(&labels.tenant));
        let Some(tenant) = self.tenants.get_mut(&labels.tenant) else { return };
        self.served += 2;
        let served = self.served;
        tenant.served = served;
        let (mut share, offer) = (tenant.share, offer.to(&tenant.share, most));
        tenant.change(&labels.queue, Lane::default(), |lane| {
            lane.served = served;
            if let Some(offer) = offer {
                offer.begins(&mut lane.share, &mut share, memory_bytes);
            }
        });
        tenant.share = share;
        self.moved(&labels.tenant, before);
    }

    /// The job that begins next.
    pub(super) fn next(&self, pick: &Pick<'_>) -> Option<Due> {
        let next = |name| self.tenants.get(name)?.next(name, self.most(name), pick);
        self.turns.iter().find_map(|(.., name)| next(name))
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

    fn change(&mut self, labels: &JobLabels, step: impl FnOnce(&mut Lane)) {
        self.change_both(labels, |_| {}, step);
    }

    fn change_share(&mut self, labels: &JobLabels, step: impl Fn(&mut Share)) {
        self.change_both(labels, |tenant| step(&mut tenant.share), |lane| step(&mut lane.share));
    }

    fn change_both(
        &mut self,
        labels: &JobLabels,
        of_tenant: impl FnOnce(&mut Tenant),
        of_lane: impl FnOnce(&mut Lane),
    ) {
        let before = self.turn(&labels.tenant);
        let served = self.served.saturating_sub(1);
        let queues = self.held_queues.get(&labels.tenant);
        let is_held = queues.is_some_and(|queues| queues.contains(&labels.queue));
        let tenant = self.tenants.entry(labels.tenant.clone());
        let tenant = tenant.or_insert_with(|| Tenant { served, ..Tenant::default() });
        of_tenant(tenant);
        tenant.change(&labels.queue, Lane { served, is_held, ..Lane::default() }, of_lane);
        self.moved(&labels.tenant, before);
    }

    /// How many attempts of a tenant may be in flight.
    fn most(&self, tenant: &TenantName) -> Option<usize> {
        let is_held = self.held_tenants.contains(tenant);
        if is_held { Some(0) } else { self.most.get(tenant).copied() }
    }

    fn turn(&self, tenant: &TenantName) -> Option<(usize, u64)> {
        self.tenants.get(tenant)?.turn(self.most(tenant))
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
    /// The turn in which a lane was served last.
    pub(super) fn served(&self, labels: &JobLabels) -> Option<u64> {
        Some(self.tenants.get(&labels.tenant)?.lanes.get(&labels.queue)?.served)
    }

    /// Jobs that are due, and attempts in flight.
    pub(super) fn totals(&self) -> (usize, usize) {
        let due = |lane: &Lane| lane.due.len() + lane.suspects;
        let tenants = self.tenants.values().map(|tenant| {
            let (lanes, share) = (tenant.lanes.values(), tenant.share);
            assert_eq!(lanes.clone().map(Lane::waiting).sum::<usize>(), share.waiting);
            let running: usize = lanes.clone().map(|lane| lane.share.held.attempts).sum();
            assert_eq!(running, share.held.attempts);
            assert_eq!(
                lanes.clone().map(|lane| lane.suspects).sum::<usize>(),
                tenant.suspects.len()
            );
            (lanes.map(due).sum::<usize>(), running)
        });
        tenants.fold((0, 0), |sum, tenant| (sum.0 + tenant.0, sum.1 + tenant.1))
    }
}
