//! The queue: the scheduling facts of every unfinished job, ordered for claiming. It decides what
//! is claimed next and which lease holds; it knows no payloads, no files and no clock.
//!
//! The [ledger](crate::ledger) of every store has one, so stores cannot disagree about what a claim means.
//!
//! | module | owns |
//! |---|---|
//! | [`entry`] | what is known of each job, and its sort key |
//! | [`waiting`] | jobs that are not due yet |
//! | [`lanes`] | jobs that are due, by tenant and queue, and which of them begins next |
//! | [`reserve`] | what large shares leave free |
//! | [`placing`] | which of these an entry is in |
//! | [`holding`] | what claims pass by |
//! | [`counts`] | what each queue holds |
//!
//! Order: tenants share the workers, and so do the queues of a tenant, which take turns where they have as
//! many attempts in flight; within a queue, jobs go by their
//! sort key: when they are due, later by a head start for each level of priority, so that none waits
//! for ever. What is held ([`Hold`]) is passed by. A job that needs more memory than is free makes
//! those behind it wait rather than starve. Suspects (jobs with a lost attempt that counts) are passed by
//! while another one is watched, and for a while those that must run alone: a host that was killed with
//! all its slots in use must not try them one by one before anything else.

mod counts;
mod entry;
mod holding;
mod lanes;
mod placing;
mod reserve;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::attempt::Lease;
use crate::clock::{Timestamp, until};
use crate::hold::Hold;
use crate::job::{JobId, QueueName};
use crate::lifecycle::{CancelRequest, JobState, Lifecycle, LostHost, Redrive};
use crate::retry::Verdict;
use crate::store::{Claim, Renewal};
use crate::tenant::TenantName;

pub use self::counts::QueueCounts;
pub use self::entry::{Entry, Holder, Standing};
pub use self::reserve::{Reserve, Room};

use self::counts::Load;
use self::entry::Slot;
use self::holding::Sweep;
use self::lanes::{Due, Lanes, Pick};
use self::reserve::Offer;
use self::waiting::{Clocks, Waiting};

/// How long a job that must run alone lets others pass before they have to wait until it can: so long
/// that a host which is not always busy is idle for a moment.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a job that needs more memory than is free lets jobs of other queues pass before they
/// have to wait until it fits: as long as most jobs take. Those of its own queue wait at once.
const MEMORY_PATIENCE: Duration = Duration::from_secs(60);

/// How many lanes one claim passes over because their first job does not fit: it bounds what the claim
/// costs when many do not.
const MOST_PASSED: usize = 64;

/// How many jobs one claim sets aside under holds that came just now, for the same reason.
const MOST_SET_ASIDE: usize = 500;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Queue {
    /// By id, which is by age: what is done to some is done to the oldest.
    slots: BTreeMap<JobId, Slot>,
    loads: BTreeMap<(TenantName, QueueName), Load>,
    holds: BTreeSet<Hold>,
    /// Whether there are holds on code, under which jobs are set aside.
    holds_code: bool,
    /// What is left to be moved for holds that came or went.
    sweeps: Vec<Sweep>,
    /// Waiting jobs that were due at the latest look and that are not set aside.
    lanes: Lanes,
    /// Waiting jobs that were not.
    future: Waiting,
    /// Jobs that became due by the wall clock since a store last asked.
    fallen_due: Vec<JobId>,
    running: BTreeSet<(Timestamp, JobId)>,
    /// Those of `running` that are suspects.
    tried: BTreeSet<JobId>,
    clocks: Clocks,
    head_start: Duration,
    /// Attempts that were finished: what a host has achieved beside the jobs that it lost.
    finished: u64,
}

impl Queue {
    /// An empty queue of a host that starts, in which each level of priority is worth `head_start`.
    #[must_use]
    pub fn new(head_start: Duration, now: Timestamp) -> Self {
        Self { head_start, clocks: Clocks::new(now), ..Self::default() }
    }

    /// An empty queue in place of this one.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let clocks = self.clocks.at(self.clocks.now);
        Self { head_start: self.head_start, clocks, ..Self::default() }
    }

    /// Forgets what the queue of a host that is started again does not know: turns and the times of draws
    /// within the reserve. What is not due yet waits for the wall clock from then on.
    pub fn restart(&mut self) {
        let mut queue = Self::new(self.head_start, self.clocks.now);
        for hold in self.held() {
            queue.set_held(hold, true);
        }
        queue.lanes.bound_as(&self.lanes);
        let mut slots: Vec<_> = std::mem::take(&mut self.slots).into_iter().collect();
        slots.sort_unstable_by_key(|(_, slot)| slot.entry.row);
        for (id, Slot { mut entry, holder, .. }) in slots {
            let Lifecycle { state, scheduled_at, .. } = entry.lifecycle;
            entry.lifecycle.on_wall =
                state == JobState::Available && scheduled_at > queue.clocks.now;
            queue.restore(id, entry, holder);
        }
        queue.count_on(self.finished);
        *self = queue;
    }

    /// How far the wall clock was ahead of the host's when it was last read.
    #[must_use]
    pub fn ahead(&self) -> jiff::SignedDuration {
        self.clocks.ahead()
    }

    /// Jobs that became due by the wall clock since this was last asked: a store writes down that they
    /// are, wherever that clock is set afterwards.
    pub fn take_fallen_due(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.fallen_due)
    }

    /// Adds a waiting job, behind those with lower row numbers.
    pub fn insert(&mut self, id: JobId, entry: Entry, now: Timestamp) {
        self.pass_time(now);
        self.restore(id, entry, Holder { expires_at: now, alive_at: now });
    }

    /// Adds an unfinished job that a store found when it was opened. If it is running, `holder` holds its
    /// lease.
    pub fn restore(&mut self, id: JobId, entry: Entry, holder: Holder) {
        self.place(id, Slot { entry, holder });
    }

    /// Continues the count of finished attempts of the store's earlier hosts.
    pub fn count_on(&mut self, finished: u64) {
        self.finished = finished;
    }

    /// How many attempts were finished.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Moves the jobs that are due at `now` from the one bound of their queue to the other.
    pub fn pass_time(&mut self, now: Timestamp) {
        self.look(self.clocks.at(now));
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

    /// Where an unfinished job stands, with what it belongs to.
    #[must_use]
    pub fn standing(&self, id: JobId) -> Option<Standing> {
        self.slots.get(&id).map(|slot| slot.entry.standing())
    }

    /// The unfinished jobs, oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<JobId> {
        self.slots.keys().copied().collect()
    }

    /// Begins attempts at the first jobs that are due, within what `want` allows.
    pub fn claim(&mut self, want: &Claim, now: Timestamp) -> Vec<Lease> {
        self.look(self.clocks.read(now, want.wall));
        let mut free = Room { attempts: want.max, memory_bytes: want.memory_bytes };
        let (mut leases, mut passed, mut set_aside) = (Vec::new(), BTreeSet::new(), 0);
        while free.attempts > 0 && passed.len() < MOST_PASSED && set_aside < MOST_SET_ASIDE {
            // On an idle host every job fits: else one accepted under a larger budget would wait
            // for ever, and all behind it.
            let idle = want.idle && self.running.is_empty();
            let offer = Offer { free, reserve: &want.reserve, now };
            let Some(Due { id, memory_bytes }) = self.next(idle, &offer, &passed) else { break };
            let Some(Slot { entry, .. }) = self.slots.get(&id) else { break };
            // A hold that came just now has not moved all that it covers.
            if self.is_sweeping() && self.is_set_aside(&entry.facts) {
                self.replace(id);
                set_aside += 1;
                continue;
            }
            if !idle && entry.lifecycle.runs_alone() {
                break;
            }
            if !idle && memory_bytes > free.memory_bytes {
                if until(entry.lifecycle.scheduled_at, now) >= MEMORY_PATIENCE {
                    break;
                }
                passed.insert((entry.facts.tenant.clone(), entry.facts.queue.clone()));
                continue;
            }
            self.lanes.serve(&entry.facts, memory_bytes, &offer);
            free.take(memory_bytes);
            leases.extend(self.begin(id, now, want.expires_at));
        }
        leases
    }

    fn begin(&mut self, id: JobId, now: Timestamp, expires_at: Timestamp) -> Option<Lease> {
        self.change(id, |slot| {
            slot.entry.lifecycle.claim(now);
            slot.holder = Holder { expires_at, alive_at: now };
            Lease { job: id, attempt: slot.entry.lifecycle.attempt, expires_at }
        })
    }

    /// The first waiting job that may start beside those that run, of lanes that are not passed over.
    fn next(
        &self,
        idle: bool,
        offer: &Offer<'_>,
        passed: &BTreeSet<(TenantName, QueueName)>,
    ) -> Option<Due> {
        let now = offer.now;
        let tried = self.tried.iter().filter_map(|id| self.lifecycle(*id));
        let watched: Vec<_> = tried.filter(|lifecycle| lifecycle.is_watched(now)).collect();
        if watched.iter().any(|lifecycle| lifecycle.runs_alone()) {
            return None;
        }
        // One that must run alone waits for an idle host, and holds others back for it only after
        // a while, and not while another suspect runs.
        let waits = |lifecycle: &Lifecycle| {
            let since = lifecycle.attempted_at.unwrap_or(lifecycle.scheduled_at);
            let since = since.max(lifecycle.scheduled_at);
            // A later time than the present is one of an earlier process with another clock.
            let waited = if since > now { PATIENCE } else { until(since, now) };
            lifecycle.runs_alone() && !idle && (!self.tried.is_empty() || waited < PATIENCE)
        };
        let trusted = watched.is_empty();
        let may =
            |suspect| trusted && self.lifecycle(suspect).is_some_and(|lifecycle| !waits(lifecycle));
        self.lanes.next(&Pick { offer: *offer, passed, may: &may })
    }

    /// When the next waiting job becomes due, if there is one; now, while jobs are moved that a hold
    /// covers or covered.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.is_sweeping() {
            return Some(self.clocks.now);
        }
        self.future.next_due(self.clocks)
    }

    /// Whether a job is due that was not claimed.
    #[must_use]
    pub fn has_due(&self) -> bool {
        self.lanes.has_due()
    }

    /// Extends a lease, as its holder is alive.
    pub fn renew(&mut self, lease: &Lease, expires_at: Timestamp, now: Timestamp) -> Renewal {
        self.pass_time(now);
        if !self.holds(lease) {
            return Renewal::LeaseLost;
        }
        let cancelled = self.change(lease.job, |slot| {
            slot.holder = Holder { expires_at, alive_at: now };
            slot.entry.lifecycle.cancel_requested_at.is_some()
        });
        match cancelled {
            Some(true) => Renewal::CancelRequested,
            Some(false) => Renewal::Extended,
            None => Renewal::LeaseLost,
        }
    }

    /// Ends the attempt that `lease` holds; `None` if it holds none any more.
    pub fn finish(&mut self, lease: &Lease, verdict: Verdict, now: Timestamp) -> Option<Standing> {
        if !self.holds(lease) {
            return None;
        }
        self.finished += u64::from(!matches!(verdict, Verdict::Release { .. }));
        self.transition(lease.job, now, |lifecycle| lifecycle.finish(verdict, now)).map(|it| it.1)
    }

    /// Forgives lost attempts at the job that `lease` holds, because this one saved its progress.
    pub fn forgive(&mut self, lease: &Lease) {
        let lost = |lifecycle: &Lifecycle| lifecycle.clone().forgive();
        if self.holds(lease) && self.lifecycle(lease.job).is_some_and(lost) {
            self.change(lease.job, |slot| slot.entry.lifecycle.forgive());
        }
    }

    /// Cancels an unfinished job or asks its attempt to stop; `None` if there is no such job.
    pub fn request_cancel(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> Option<(CancelRequest, Standing)> {
        self.transition(id, now, |lifecycle| lifecycle.request_cancel(now))
    }

    /// Makes a waiting job due; `None` if there is no such unfinished job.
    pub fn redrive(&mut self, id: JobId, now: Timestamp) -> Option<(Redrive, Standing)> {
        self.transition(id, now, |lifecycle| lifecycle.redrive(now))
    }

    /// At most `most` running jobs whose lease has expired.
    #[must_use]
    pub fn expired(&self, now: Timestamp, most: usize) -> Vec<JobId> {
        let expired = self.running.iter().take_while(|(at, _)| *at <= now);
        expired.take(most).map(|(_, id)| *id).collect()
    }

    /// Takes a running job back from an attempt whose host is gone.
    pub fn reclaim(&mut self, id: JobId, now: Timestamp) -> Option<Standing> {
        let slot = self.slots.get(&id).filter(|slot| slot.is_running())?;
        let host = LostHost { alive_at: slot.holder.alive_at, finished: self.finished };
        self.transition(id, now, |lifecycle| lifecycle.reclaim(host, now)).map(|it| it.1)
    }

    /// Lets a tenant have at most `most` attempts in flight.
    pub fn bound(&mut self, tenant: &TenantName, most: Option<usize>) {
        self.lanes.bound(tenant, most);
    }

    /// Whether `lease` is still the right to try its job.
    #[must_use]
    pub fn holds(&self, lease: &Lease) -> bool {
        self.lifecycle(lease.job).is_some_and(|lifecycle| {
            lifecycle.state == JobState::Running && lifecycle.attempt == lease.attempt
        })
    }
}

#[cfg(test)]
mod tests;
