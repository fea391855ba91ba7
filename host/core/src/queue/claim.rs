//! Claims: which jobs begin next.

use super::index::Queue;
use super::lanes::Served;
use super::order::{self, Due, InFlight, Pick, Reserve, Room, Trust, View, Want};
use crate::attempt::Lease;
use crate::clock::Timestamp;
use crate::host::HostId;
use crate::job::id::JobId;
use crate::tenant::TenantName;

/// How many jobs one claim sets aside under new holds: it bounds what the claim costs.
const MOST_SET_ASIDE: usize = 500;

/// The request of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The host, which holds the leases.
    pub host: HostId,
    /// The maximum number of jobs.
    pub max: usize,
    /// The maximum memory of the host that they may use together ([`Limits::host_bytes`]), in bytes.
    ///
    /// [`Limits::host_bytes`]: crate::Limits::host_bytes
    pub memory_bytes: u64,
    /// Whether the host runs no attempt. An attempt whose lease was lost may still run, which the store does
    /// not know.
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
        self.read_clocks(now, want.wall);
        self.hosts.lives(want.host, now);
        let mut free = Room { attempts: want.max, memory_bytes: want.memory_bytes };
        let (mut leases, mut set_aside) = (Vec::new(), 0);
        while free.attempts > 0 && set_aside < MOST_SET_ASIDE {
            let idle = want.idle && self.hosts.is_idle(want.host);
            let room = Want { free, idle, reserve: &want.reserve };
            let pick = self.pick(&room, want.host, now);
            let (Pick::Begin(due) | Pick::Await(due)) = pick else { break };
            // A new hold may not have moved all jobs that it covers yet.
            if self.sets_aside(due.id) {
                set_aside += 1;
                continue;
            }
            let Pick::Begin(_) = pick else { break };
            free.take(due.memory_bytes);
            leases.extend(self.begin(&due, &room, want, now));
        }
        leases
    }

    fn pick(&self, want: &Want<'_>, host: HostId, now: Timestamp) -> Pick {
        let suspects = self.hosts.suspects(host).filter_map(|id| self.lifecycle(id));
        let view = View { in_flight: InFlight::of(suspects, now), tenants: self.lanes.view(host) };
        order::pick(view, want, now)
    }

    /// Moves a job out of its lane if a hold covers it that is still being swept.
    fn sets_aside(&mut self, id: JobId) -> bool {
        let slot = self.slots.get(&id).filter(|_| self.is_sweeping());
        let is_covered = slot.is_some_and(|slot| self.is_set_aside(slot.entry.labels()));
        if is_covered {
            self.replace(id);
        }
        is_covered
    }

    /// Begins an attempt at a job that was picked. As it is in its lane, it goes from there to the running jobs
    /// without being taken out of all orders: that would be half of what a claim costs.
    fn begin(&mut self, due: &Due, room: &Want<'_>, want: &Claim, now: Timestamp) -> Option<Lease> {
        let Claim { host, expires_at, .. } = *want;
        let slot = self.slots.get_mut(&due.id)?;
        let (wait, place) = (slot.wait(due.id), slot.place(self.head_start));
        if let Some(end) = slot.entry.lifecycle.expires_at() {
            self.ends.remove(&(end, due.id));
        }
        let entry = &mut slot.entry;
        let labels = entry.labels();
        let key = (labels.tenant.clone(), labels.queue.clone());
        self.loads.entry(key).or_default().begin(&wait);
        let served = Served { labels, place, due, host };
        self.lanes.serve(&served, |shares| order::begin(due, shares, room, now));
        self.running.insert((expires_at, due.id));
        self.hosts.begin(host, due.id, due.trust != Trust::Trusted);
        entry.lifecycle.claim_on(host, now);
        slot.expires_at = expires_at;
        Some(Lease { job: due.id, attempt: slot.entry.lifecycle.attempt, host, expires_at })
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
