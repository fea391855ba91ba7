//! Hosts: the attempts in flight on each, and its signs of life.
//!
//! Whether a host is idle, which suspects it tries and what its death tells of a job concern its own attempts:
//! those of other hosts do not die with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::host::HostId;
use crate::job::id::JobId;
use crate::job::lifecycle::LostHost;

/// What decides whether a loss counts of an attempt that a host holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The host.
    pub id: HostId,
    /// Its last sign of life.
    pub alive_at: Timestamp,
    /// The number of the latest attempt that it finished; 0 if there is none.
    pub finished: u64,
}

/// The hosts that have claimed. They stay known as long as the queue exists, which is in the memory of one process:
/// so few hosts share it.
#[derive(Debug, Default)]
pub(super) struct Hosts(BTreeMap<HostId, Host>);

#[derive(Debug)]
struct Host {
    /// Its attempts in flight.
    running: usize,
    /// The suspects among their jobs.
    suspects: BTreeSet<JobId>,
    alive_at: Timestamp,
    finished: u64,
    /// Whether the latter two changed since a store last asked.
    is_changed: bool,
}

impl Host {
    fn new() -> Self {
        let suspects = BTreeSet::new();
        Self { running: 0, suspects, alive_at: Timestamp::MIN, finished: 0, is_changed: false }
    }

    fn lives(&mut self, now: Timestamp) {
        if now > self.alive_at {
            (self.alive_at, self.is_changed) = (now, true);
        }
    }
}

impl Hosts {
    /// Notes a sign of life.
    pub(super) fn lives(&mut self, id: HostId, now: Timestamp) {
        self.host(id).lives(now);
    }

    /// Notes that all of them live.
    pub(super) fn all_live(&mut self, now: Timestamp) {
        self.0.values_mut().for_each(|host| host.lives(now));
    }

    /// Counts an attempt that begins.
    pub(super) fn begin(&mut self, id: HostId, job: JobId, is_suspect: bool) {
        let host = self.host(id);
        host.running += 1;
        // Of a host without leases a store keeps nothing.
        host.is_changed = true;
        if is_suspect {
            host.suspects.insert(job);
        }
    }

    /// Counts an attempt that ended.
    pub(super) fn end(&mut self, id: HostId, job: JobId) {
        let host = self.host(id);
        host.running -= 1;
        host.suspects.remove(&job);
    }

    /// Notes the number of an attempt that a host finished.
    pub(super) fn finishes(&mut self, id: HostId, number: u64) {
        let host = self.host(id);
        (host.finished, host.is_changed) = (number, true);
    }

    /// Whether no attempt is in flight on a host.
    pub(super) fn is_idle(&self, id: HostId) -> bool {
        self.0.get(&id).is_none_or(|host| host.running == 0)
    }

    /// The suspects among the jobs in flight on a host.
    pub(super) fn suspects(&self, id: HostId) -> impl Iterator<Item = JobId> {
        self.0.get(&id).into_iter().flat_map(|host| host.suspects.iter().copied())
    }

    /// The facts about a host that lost an attempt, where `latest` is the number of the latest attempt of all
    /// that was finished.
    pub(super) fn lost(&self, id: HostId, latest: u64) -> LostHost {
        let (alive_at, finished) =
            self.0.get(&id).map_or((Timestamp::MIN, 0), |host| (host.alive_at, host.finished));
        LostHost { alive_at, finished, latest }
    }

    /// See [`Queue::restore_holder`](super::Queue::restore_holder).
    pub(super) fn restore(&mut self, holder: &Holder) {
        let host = self.host(holder.id);
        (host.alive_at, host.finished) = (holder.alive_at, holder.finished);
    }

    /// See [`Queue::take_signs_of_life`](super::Queue::take_signs_of_life).
    pub(super) fn take_signs_of_life(&mut self) -> Vec<Holder> {
        let changed = |(id, host): (&HostId, &mut Host)| {
            let Host { alive_at, finished, .. } = *host;
            std::mem::take(&mut host.is_changed).then_some(Holder { id: *id, alive_at, finished })
        };
        self.0.iter_mut().filter_map(changed).collect()
    }

    fn host(&mut self, id: HostId) -> &mut Host {
        self.0.entry(id).or_insert_with(Host::new)
    }
}

#[cfg(test)]
impl Hosts {
    /// The attempts in flight on each host, and the suspects among their jobs.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (HostId, usize, &BTreeSet<JobId>)> {
        self.0.iter().map(|(id, host)| (*id, host.running, &host.suspects))
    }
}
