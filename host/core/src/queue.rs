//! The queue: the scheduling facts of every unfinished job, ordered for claiming. It decides what
//! is claimed next and who holds which lease; it knows no payloads, no files and no clock.
//!
//! The in-memory store is this structure and little more; the SQLite store is the same structure
//! with a durable table under it. So memory and disk cannot disagree about what a claim means.
//!
//! Order: priority, then due time, then arrival. A job that does not fit into the memory that is
//! left, or that must run alone, makes those behind it wait rather than starve. Only suspects (jobs
//! with a lost attempt) are passed by, while another suspect is watched: a host that was killed with
//! all its slots in use must not try them one by one before anything else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::attempt::Lease;
use crate::capacity::Permit;
use crate::clock::{Timestamp, until};
use crate::job::{JobId, JobSpec, Priority, QueueName};
use crate::lifecycle::{CancelRequest, JobState, Lifecycle, Redrive};
use crate::retry::Verdict;
use crate::store::{Claim, Renewal};

/// The scheduling facts of an unfinished job.
#[derive(Debug)]
pub struct Entry {
    /// Its queue.
    pub queue: QueueName,
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
            queue: spec.queue.clone(),
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
    pub fn empty(name: QueueName, capacity: usize) -> Self {
        let (depth, scheduled, running) = (0, 0, 0);
        Self { name, depth, scheduled, running, capacity, oldest_age_ms: 0, paused: false }
    }
}

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
    paused: bool,
    running: usize,
    waiting: BTreeSet<(Timestamp, u64, JobId)>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Queue {
    slots: HashMap<JobId, Slot>,
    lanes: BTreeMap<QueueName, Lane>,
    /// Waiting jobs that were due at the latest look, whose queue is not paused, and that are no
    /// suspects.
    ready: BTreeMap<Place, JobId>,
    /// As `ready`, but suspects.
    suspects: BTreeMap<Place, JobId>,
    /// The other waiting jobs of queues that are not paused.
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
        let mut leases = Vec::new();
        while leases.len() < want.max
            && let Some(id) = self.next(now)
        {
            let Some(slot) = self.slots.get(&id) else { break };
            let fits = slot.entry.memory_bytes <= memory_left;
            // On an idle host every job fits: else one accepted under a larger budget would wait
            // for ever, and all behind it.
            let idle = want.idle && self.running.is_empty();
            if !idle && (!fits || slot.entry.lifecycle.runs_alone()) {
                break;
            }
            memory_left = memory_left.saturating_sub(slot.entry.memory_bytes);
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

    /// The first waiting job that may start beside those that run.
    fn next(&self, now: Timestamp) -> Option<JobId> {
        let tried = self.tried.iter().filter_map(|id| self.lifecycle(*id));
        let watched: Vec<_> = tried.filter(|lifecycle| lifecycle.is_watched(now)).collect();
        if watched.iter().any(|lifecycle| lifecycle.runs_alone()) {
            return None;
        }
        let suspect = self.suspects.first_key_value().filter(|_| watched.is_empty());
        let first = [self.ready.first_key_value(), suspect].into_iter().flatten().min();
        first.map(|(_, id)| *id)
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

    /// Makes claims pass a queue by, or not any more.
    pub fn set_paused(&mut self, queue: &QueueName, paused: bool) {
        let lane = self.lanes.entry(queue.clone()).or_default();
        lane.paused = paused;
        let waiting: Vec<JobId> = lane.waiting.iter().map(|(.., id)| *id).collect();
        for id in waiting {
            self.change(id, |_| ());
        }
        self.forget_empty(queue);
    }

    /// What every queue holds that has unfinished jobs or is paused.
    #[must_use]
    pub fn counts(&self, now: Timestamp, capacity: usize) -> Vec<QueueCounts> {
        let count = |(name, lane): (&QueueName, &Lane)| {
            let due = lane.waiting.iter().take_while(|(at, ..)| *at <= now).count();
            let oldest = lane.waiting.first().map_or(now, |(at, ..)| *at);
            QueueCounts {
                name: name.clone(),
                depth: lane.waiting.len(),
                scheduled: lane.waiting.len() - due,
                running: lane.running,
                capacity,
                oldest_age_ms: u64::try_from(until(oldest, now).as_millis()).unwrap_or(u64::MAX),
                paused: lane.paused,
            }
        };
        self.lanes.iter().map(count).collect()
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
            self.forget_empty(&slot.entry.queue);
        } else {
            self.place(id, slot);
        }
        Some(answer)
    }

    fn place(&mut self, id: JobId, slot: Slot) {
        let lane = self.lanes.entry(slot.entry.queue.clone()).or_default();
        if slot.entry.lifecycle.state == JobState::Running {
            lane.running += 1;
            self.running.insert((slot.expires_at, id));
            if slot.entry.lifecycle.is_suspect() {
                self.tried.insert(id);
            }
        } else {
            let waiting = (slot.entry.lifecycle.scheduled_at, slot.arrival, id);
            lane.waiting.insert(waiting);
            if !lane.paused {
                self.future.insert(waiting);
            }
        }
        self.slots.insert(id, slot);
    }

    fn unplace(&mut self, id: JobId) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        let lane = self.lanes.entry(slot.entry.queue.clone()).or_default();
        if slot.entry.lifecycle.state == JobState::Running {
            lane.running -= 1;
            self.running.remove(&(slot.expires_at, id));
            self.tried.remove(&id);
        } else {
            let waiting = (slot.entry.lifecycle.scheduled_at, slot.arrival, id);
            lane.waiting.remove(&waiting);
            self.future.remove(&waiting);
            self.ready.remove(&slot.place());
            self.suspects.remove(&slot.place());
        }
        Some(slot)
    }

    fn promote(&mut self, now: Timestamp) {
        while let Some(&due) = self.future.first()
            && due.0 <= now
        {
            self.future.remove(&due);
            if let Some(slot) = self.slots.get(&due.2) {
                let suspect = slot.entry.lifecycle.is_suspect();
                let due_jobs = if suspect { &mut self.suspects } else { &mut self.ready };
                due_jobs.insert(slot.place(), due.2);
            }
        }
    }

    fn forget_empty(&mut self, queue: &QueueName) {
        if self
            .lanes
            .get(queue)
            .is_some_and(|l| !l.paused && l.running == 0 && l.waiting.is_empty())
        {
            self.lanes.remove(queue);
        }
    }
}

#[cfg(test)]
mod tests;
