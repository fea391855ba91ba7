//! The queue: the scheduling facts of every unfinished job, ordered for claiming. It decides what
//! is claimed next and who holds which lease; it knows no payloads, no files and no clock.
//!
//! The in-memory store is this structure and little more; the SQLite store is the same structure
//! with a durable table under it. So memory and disk cannot disagree about what a claim means.
//!
//! Order: tenants share what there is ([`shares`]); of each, priority, then due time, then arrival. What
//! is held ([`Hold`]) is passed by. A job that does not fit into the memory that is left makes those
//! behind it wait rather than starve. Suspects (jobs with a lost attempt) are passed by while another
//! one is watched, and for a while those that must run alone: a host that was killed with all its slots
//! in use must not try them one by one before anything else.

mod shares;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::attempt::Lease;
use crate::capacity::Permit;
use crate::clock::{Timestamp, until};
use crate::hold::{Facts, Hold};
use crate::job::{JobId, JobSpec, Priority, QueueName};
use crate::lifecycle::{CancelRequest, JobState, Lifecycle, Redrive};
use crate::retry::Verdict;
use crate::store::{Claim, Renewal};
use crate::tenant::TenantName;

use self::shares::Shares;

/// The scheduling facts of an unfinished job.
#[derive(Debug)]
pub struct Entry {
    /// What it belongs to.
    pub facts: Facts,
    /// Its priority.
    pub priority: Priority,
    /// What an attempt may take of the host's memory.
    pub memory_bytes: u64,
    /// Where it stands.
    pub lifecycle: Lifecycle,
    /// Its place, given back when the entry goes.
    pub permit: Permit,
}

impl Entry {
    /// The facts of a job with this specification.
    #[must_use]
    pub fn new(spec: &JobSpec, lifecycle: Lifecycle, permit: Permit) -> Self {
        Self {
            facts: spec.into(),
            priority: spec.priority,
            memory_bytes: spec.limits.host_bytes(),
            lifecycle,
            permit,
        }
    }
}

/// What a queue holds, as people ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueCounts {
    /// Whose it is.
    #[serde(skip_serializing_if = "TenantName::is_default")]
    pub tenant: TenantName,
    /// Its name.
    pub name: QueueName,
    /// Waiting jobs, due or not.
    pub depth: usize,
    /// Of these, the ones that are not due yet.
    pub scheduled: usize,
    /// Running jobs.
    pub running: usize,
    /// How many unfinished jobs it may hold.
    pub capacity: usize,
    /// How long the oldest due job has been due, in milliseconds.
    pub oldest_age_ms: u64,
    /// Whether claims pass it by.
    pub paused: bool,
}

impl QueueCounts {
    /// A queue without jobs.
    #[must_use]
    pub fn empty(tenant: TenantName, name: QueueName, capacity: usize) -> Self {
        let (depth, scheduled, running) = (0, 0, 0);
        Self { tenant, name, depth, scheduled, running, capacity, oldest_age_ms: 0, paused: false }
    }
}

/// How long a job that must run alone lets others pass before they have to wait until it can: so long
/// that a host which is not always busy is idle for a moment.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a job that needs more memory than is free lets jobs of other tenants pass before they
/// have to wait until it fits: as long as most jobs take. Those of its own tenant wait at once.
const MEMORY_PATIENCE: Duration = Duration::from_secs(60);

/// A waiting job's place in the order; the last part is the order of arrival.
type Place = (Priority, Timestamp, u64);

#[derive(Debug)]
struct Slot {
    entry: Entry,
    arrival: u64,
    /// Until when the lease of a running job holds.
    expires_at: Timestamp,
}

impl Slot {
    fn place(&self) -> Place {
        (self.entry.priority, self.entry.lifecycle.scheduled_at, self.arrival)
    }
}

#[derive(Debug, Default)]
struct Lane {
    running: usize,
    waiting: BTreeSet<(Timestamp, u64, JobId)>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Queue {
    /// By id, which is by age: what is done to some is done to the oldest.
    slots: BTreeMap<JobId, Slot>,
    lanes: BTreeMap<(TenantName, QueueName), Lane>,
    holds: BTreeSet<Hold>,
    /// Waiting jobs that were due at the latest look and that nothing holds.
    shares: Shares,
    /// The other waiting jobs that nothing holds.
    future: BTreeSet<(Timestamp, u64, JobId)>,
    running: BTreeSet<(Timestamp, JobId)>,
    /// Those of `running` that are suspects.
    tried: BTreeSet<JobId>,
    arrivals: u64,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an unfinished job behind those that came before it. A running one, which a store found
    /// when it was opened, is held by a lease until `expires_at`.
    pub fn insert(&mut self, id: JobId, entry: Entry, expires_at: Timestamp) {
        self.arrivals += 1;
        let slot = Slot { entry, arrival: self.arrivals, expires_at };
        self.place(id, slot);
    }

    /// How many unfinished jobs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether every job is finished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Where an unfinished job stands.
    #[must_use]
    pub fn lifecycle(&self, id: JobId) -> Option<&Lifecycle> {
        self.slots.get(&id).map(|slot| &slot.entry.lifecycle)
    }

    /// Begins attempts at the first jobs that are due, within what `want` allows.
    pub fn claim(&mut self, want: &Claim, now: Timestamp) -> Vec<Lease> {
        self.promote(now);
        let mut memory_left = want.memory_bytes;
        let (mut leases, mut passed_by) = (Vec::new(), BTreeSet::new());
        while leases.len() < want.max
            && let Some(id) = self.next(want, now, &passed_by)
        {
            let Some(slot) = self.slots.get(&id) else { break };
            let fits = slot.entry.memory_bytes <= memory_left;
            // On an idle host every job fits: else one accepted under a larger budget would wait
            // for ever, and all behind it.
            let idle = want.idle && self.running.is_empty();
            if !idle && slot.entry.lifecycle.runs_alone() {
                break;
            }
            if !idle && !fits {
                if until(slot.entry.lifecycle.scheduled_at, now) >= MEMORY_PATIENCE {
                    break;
                }
                passed_by.insert(slot.entry.facts.tenant.clone());
                continue;
            }
            memory_left = memory_left.saturating_sub(slot.entry.memory_bytes);
            self.shares.serve(&slot.entry.facts.tenant);
            let expires_at = want.expires_at;
            if let Some(lease) = self.change(id, |slot| {
                slot.entry.lifecycle.claim(now);
                slot.expires_at = expires_at;
                Lease { job: id, attempt: slot.entry.lifecycle.attempt, expires_at }
            }) {
                leases.push(lease);
            }
        }
        leases
    }

    /// The first waiting job that may start beside those that run, of tenants that are not passed by.
    fn next(
        &self,
        want: &Claim,
        now: Timestamp,
        passed_by: &BTreeSet<TenantName>,
    ) -> Option<JobId> {
        let tried = self.tried.iter().filter_map(|id| self.lifecycle(*id));
        let watched: Vec<_> = tried.filter(|lifecycle| lifecycle.is_watched(now)).collect();
        if watched.iter().any(|lifecycle| lifecycle.runs_alone()) {
            return None;
        }
        let (trusted, idle) = (watched.is_empty(), want.idle && self.running.is_empty());
        self.shares.first(passed_by, |suspect| {
            // One that must run alone waits for an idle host, and holds others back for it only after
            // a while, and not while another suspect runs.
            let waits = |lifecycle: &Lifecycle| {
                let since = lifecycle.attempted_at.unwrap_or(lifecycle.scheduled_at);
                let waited = until(since.max(lifecycle.scheduled_at), now);
                lifecycle.runs_alone() && !idle && (!self.tried.is_empty() || waited < PATIENCE)
            };
            trusted && self.lifecycle(suspect).is_some_and(|lifecycle| !waits(lifecycle))
        })
    }

    /// When the next waiting job becomes due, if there is one.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.future.first().map(|(at, ..)| *at)
    }

    /// Extends a lease.
    pub fn renew(&mut self, lease: &Lease, expires_at: Timestamp) -> Renewal {
        if !self.holds(lease) {
            return Renewal::LeaseLost;
        }
        let cancelled = self.change(lease.job, |slot| {
            slot.expires_at = expires_at;
            slot.entry.lifecycle.cancel_requested_at.is_some()
        });
        match cancelled {
            Some(true) => Renewal::CancelRequested,
            Some(false) => Renewal::Extended,
            None => Renewal::LeaseLost,
        }
    }

    /// Ends the attempt that `lease` holds; `None` if it holds none any more.
    pub fn finish(&mut self, lease: &Lease, verdict: Verdict, now: Timestamp) -> Option<Lifecycle> {
        if !self.holds(lease) {
            return None;
        }
        self.transition(lease.job, |lifecycle| lifecycle.finish(verdict, now)).map(|(_, l)| l)
    }

    /// Cancels an unfinished job or asks its attempt to stop; `None` if there is no such job.
    pub fn request_cancel(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> Option<(CancelRequest, Lifecycle)> {
        self.transition(id, |lifecycle| lifecycle.request_cancel(now))
    }

    /// Makes a waiting job due; `None` if there is no such unfinished job.
    pub fn redrive(&mut self, id: JobId, now: Timestamp) -> Option<(Redrive, Lifecycle)> {
        self.transition(id, |lifecycle| lifecycle.redrive(now))
    }

    /// At most `most` running jobs whose lease has expired.
    #[must_use]
    pub fn expired(&self, now: Timestamp, most: usize) -> Vec<JobId> {
        let expired = self.running.iter().take_while(|(at, _)| *at <= now);
        expired.take(most).map(|(_, id)| *id).collect()
    }

    /// Takes a running job back from an attempt whose host is gone.
    pub fn reclaim(&mut self, id: JobId, now: Timestamp) -> Option<Lifecycle> {
        if self.lifecycle(id)?.state != JobState::Running {
            return None;
        }
        self.transition(id, |lifecycle| lifecycle.reclaim(now)).map(|(_, l)| l)
    }

    /// Makes claims pass by what `hold` covers, or not any more.
    pub fn set_held(&mut self, hold: Hold, held: bool) {
        let waits = |slot: &Slot| slot.entry.lifecycle.state != JobState::Running;
        let covered = |slot: &Slot| waits(slot) && hold.covers(&slot.entry.facts);
        let covered: Vec<JobId> =
            self.slots.iter().filter(|(_, slot)| covered(slot)).map(|(id, _)| *id).collect();
        if held {
            self.holds.insert(hold);
        } else {
            self.holds.remove(&hold);
        }
        for id in covered {
            self.change(id, |_| ());
        }
    }

    /// What claims pass by, in no order.
    #[must_use]
    pub fn held(&self) -> Vec<Hold> {
        self.holds.iter().cloned().collect()
    }

    /// The oldest unfinished jobs that `hold` covers and that nobody asked to cancel, at most `most`.
    #[must_use]
    pub fn covered(&self, hold: &Hold, most: usize) -> Vec<JobId> {
        let covered = self.slots.iter().filter(|(_, slot)| {
            slot.entry.lifecycle.cancel_requested_at.is_none() && hold.covers(&slot.entry.facts)
        });
        covered.map(|(id, _)| *id).take(most).collect()
    }

    /// Lets a tenant have at most `most` attempts in flight.
    pub fn bound(&mut self, tenant: &TenantName, most: Option<usize>) {
        self.shares.bound(tenant, most);
    }

    /// What every queue holds that has unfinished jobs or is paused, by tenant and name.
    #[must_use]
    pub fn counts(&self, now: Timestamp, capacity: usize) -> Vec<QueueCounts> {
        let mut counts: BTreeMap<_, _> = self
            .lanes
            .iter()
            .map(|(key, lane)| {
                let due = lane.waiting.iter().take_while(|(at, ..)| *at <= now).count();
                let oldest = lane.waiting.first().map_or(now, |(at, ..)| *at);
                let counts = QueueCounts {
                    tenant: key.0.clone(),
                    name: key.1.clone(),
                    depth: lane.waiting.len(),
                    scheduled: lane.waiting.len() - due,
                    running: lane.running,
                    capacity,
                    oldest_age_ms: u64::try_from(until(oldest, now).as_millis())
                        .unwrap_or(u64::MAX),
                    paused: false,
                };
                (key.clone(), counts)
            })
            .collect();
        for hold in &self.holds {
            if let Hold::Queue { tenant, queue } = hold {
                let key = (tenant.clone(), queue.clone());
                let empty = || QueueCounts::empty(key.0.clone(), key.1.clone(), capacity);
                counts.entry(key.clone()).or_insert_with(empty).paused = true;
            }
        }
        counts.into_values().collect()
    }

    /// Whether `lease` is still the right to try its job.
    #[must_use]
    pub fn holds(&self, lease: &Lease) -> bool {
        self.lifecycle(lease.job).is_some_and(|lifecycle| {
            lifecycle.state == JobState::Running && lifecycle.attempt == lease.attempt
        })
    }

    fn transition<A>(
        &mut self,
        id: JobId,
        step: impl FnOnce(&mut Lifecycle) -> A,
    ) -> Option<(A, Lifecycle)> {
        self.change(id, |slot| (step(&mut slot.entry.lifecycle), slot.entry.lifecycle.clone()))
    }

    /// The one way to change an entry: out of every index, changed, and in again where it belongs
    /// now. A finalized one goes, and its permit with it.
    fn change<A>(&mut self, id: JobId, step: impl FnOnce(&mut Slot) -> A) -> Option<A> {
        let mut slot = self.unplace(id)?;
        let answer = step(&mut slot);
        if slot.entry.lifecycle.state.is_finalized() {
            self.forget_empty(slot.entry.facts);
        } else {
            self.place(id, slot);
        }
        Some(answer)
    }

    fn place(&mut self, id: JobId, slot: Slot) {
        let facts = &slot.entry.facts;
        let lane = self.lanes.entry((facts.tenant.clone(), facts.queue.clone())).or_default();
        if slot.entry.lifecycle.state == JobState::Running {
            lane.running += 1;
            self.running.insert((slot.expires_at, id));
            self.shares.begin(&facts.tenant);
            if slot.entry.lifecycle.is_suspect() {
                self.tried.insert(id);
            }
        } else {
            let waiting = (slot.entry.lifecycle.scheduled_at, slot.arrival, id);
            lane.waiting.insert(waiting);
            if !self.is_held(facts) {
                self.future.insert(waiting);
            }
        }
        self.slots.insert(id, slot);
    }

    fn unplace(&mut self, id: JobId) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        let facts = &slot.entry.facts;
        let lane = self.lanes.entry((facts.tenant.clone(), facts.queue.clone())).or_default();
        if slot.entry.lifecycle.state == JobState::Running {
            lane.running -= 1;
            self.running.remove(&(slot.expires_at, id));
            self.shares.end(&facts.tenant);
            self.tried.remove(&id);
        } else {
            let waiting = (slot.entry.lifecycle.scheduled_at, slot.arrival, id);
            lane.waiting.remove(&waiting);
            self.future.remove(&waiting);
            self.shares.remove(&facts.tenant, &slot.place());
        }
        Some(slot)
    }

    fn forget_empty(&mut self, facts: Facts) {
        self.shares.forget_empty(&facts.tenant);
        let key = (facts.tenant, facts.queue);
        if self.lanes.get(&key).is_some_and(|lane| lane.running == 0 && lane.waiting.is_empty()) {
            self.lanes.remove(&key);
        }
    }

    fn is_held(&self, facts: &Facts) -> bool {
        !self.holds.is_empty() && Hold::over(facts).iter().any(|hold| hold.is_in(&self.holds))
    }

    fn promote(&mut self, now: Timestamp) {
        while let Some(&due) = self.future.first()
            && due.0 <= now
        {
            self.future.remove(&due);
            if let Some(slot) = self.slots.get(&due.2) {
                let suspect = slot.entry.lifecycle.is_suspect();
                self.shares.ready(&slot.entry.facts.tenant, slot.place(), due.2, suspect);
            }
        }
    }
}

#[cfg(test)]
mod tests;
