//! Claims: which jobs begin next.

use std::collections::BTreeSet;
use std::time::Duration;

use super::entry::{Holder, Slot};
use super::index::Queue;
use super::lane::Due;
use super::lanes::Pick;
use super::name::QueueName;
use super::reserve::{Offer, Reserve, Room};
use crate::attempt::Lease;
use crate::clock::{Timestamp, until};
use crate::job::id::JobId;
use crate::job::lifecycle::Lifecycle;
use crate::tenant::TenantName;

/// How long other jobs may start before a job that must run alone; after that they wait for it. Long enough
/// that a host which is not always busy is idle for a moment.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long jobs of other queues may start before a job that needs more memory than is free; after that they
/// wait for it. As long as most jobs take. Jobs of its own queue wait at once.
const MEMORY_PATIENCE: Duration = Duration::from_secs(60);

/// How many lanes one claim skips because their first job does not fit: it bounds what the claim
/// costs when many do not.
const MOST_PASSED: usize = 64;

/// How many jobs one claim sets aside under new holds, for the same reason.
const MOST_SET_ASIDE: usize = 500;

/// What a worker asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The maximum number of jobs.
    pub max: usize,
    /// The maximum memory of the host that they may use together ([`Limits::host_bytes`]), in bytes.
    ///
    /// [`Limits::host_bytes`]: crate::Limits::host_bytes
    pub memory_bytes: u64,
    /// Whether the worker's host runs no attempt. An attempt whose lease was lost may still run, which the
    /// store does not know.
    pub idle: bool,
    /// The part of the host that queues and tenants with a large share leave free.
    pub reserve: Reserve,
    /// Until when the leases hold.
    pub expires_at: Timestamp,
    /// The reading of the wall clock, which may differ from the time of the call. It decides when jobs are due
    /// whose time a client gave.
    pub wall: Timestamp,
}

impl Queue {
    /// Begins attempts at the first jobs that are due, within what `want` allows.
    pub fn claim(&mut self, want: &Claim, now: Timestamp) -> Vec<Lease> {
        self.look(self.clocks.read(now, want.wall));
        let mut free = Room { attempts: want.max, memory_bytes: want.memory_bytes };
        let (mut leases, mut passed, mut set_aside) = (Vec::new(), BTreeSet::new(), 0);
        while free.attempts > 0 && passed.len() < MOST_PASSED && set_aside < MOST_SET_ASIDE {
            // On an idle host every job fits: else a job that was accepted under a larger budget
            // would wait for ever, with all jobs behind it.
            let idle = want.idle && self.running.is_empty();
            let offer = Offer { free, reserve: &want.reserve, now };
            let Some(Due { id, memory_bytes }) = self.next(idle, &offer, &passed) else { break };
            let Some(Slot { entry, .. }) = self.slots.get(&id) else { break };
            // A new hold may not have moved all jobs that it covers yet.
            if self.is_sweeping() && self.is_set_aside(&entry.labels) {
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
                passed.insert((entry.labels.tenant.clone(), entry.labels.queue.clone()));
                continue;
            }
            self.lanes.serve(&entry.labels, memory_bytes, &offer);
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

    /// The first due job that may start now, of lanes that are not skipped.
    fn next(
        &self,
        idle: bool,
        offer: &Offer<'_>,
        passed: &BTreeSet<(TenantName, QueueName)>,
    ) -> Option<Due> {
        let now = offer.now;
        let suspects = self.running_suspects.iter().filter_map(|id| self.lifecycle(*id));
        let watched: Vec<_> = suspects.filter(|lifecycle| lifecycle.is_watched(now)).collect();
        if watched.iter().any(|lifecycle| lifecycle.runs_alone()) {
            return None;
        }
        // A job that must run alone waits for an idle host. It makes other jobs wait only after
        // a while, and not while another suspect runs.
        let waits = |lifecycle: &Lifecycle| {
            let since = lifecycle.attempted_at.unwrap_or(lifecycle.scheduled_at);
            let since = since.max(lifecycle.scheduled_at);
            // A later time than the present is one of an earlier process with another clock.
            let waited = if since > now { PATIENCE } else { until(since, now) };
            lifecycle.runs_alone()
                && !idle
                && (!self.running_suspects.is_empty() || waited < PATIENCE)
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

    /// Limits the attempts in flight of a tenant to `most`.
    pub fn bound(&mut self, tenant: &TenantName, most: Option<usize>) {
        self.lanes.bound(tenant, most);
    }
}
