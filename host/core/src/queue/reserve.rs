//! The reserve: what a queue or a tenant with a large share of a host leaves free on it.
//!
//! Attempts are not preempted, so a job can begin at once only where a slot is free. A queue that holds
//! half of a host or more, and that has more jobs waiting than there is room for, therefore takes the
//! last free slots slowly: when no more than the reserve is free, it begins one attempt per [`PACE`]. As
//! an attempt may take 60 s by default, such a queue has rarely more than six attempts in the reserve,
//! and a job of another queue finds a free slot. A queue that is alone still gets every slot, after a
//! while, if its jobs take long. The same holds for memory, and for tenants with half of the reserve.
//!
//! The cost: of 64 slots, the backlog of a queue that is alone keeps 56 busy with short jobs, and one
//! more for each 10 s that its jobs take.

use std::time::Duration;

use crate::clock::{Timestamp, until};

/// How often a large share may begin an attempt within the reserve: with a reserve of 8 slots, attempts
/// of up to a minute leave some of it free.
const PACE: Duration = Duration::from_secs(10);

/// Attempts in flight and their memory: what a host has, has free, or has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Attempts in flight.
    pub attempts: usize,
    /// What they may take of the host's memory, in bytes.
    pub memory_bytes: u64,
}

impl Room {
    /// With one attempt more.
    pub(super) fn add(&mut self, memory_bytes: u64) {
        self.attempts += 1;
        self.memory_bytes += memory_bytes;
    }

    /// With one attempt fewer.
    pub(super) fn take(&mut self, memory_bytes: u64) {
        self.attempts -= 1;
        self.memory_bytes = self.memory_bytes.saturating_sub(memory_bytes);
    }
}

/// What large shares leave free of a host. The default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserve {
    host: Room,
    queue: Room,
    tenant: Room,
}

/// What a queue or a tenant holds of the hosts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Share {
    pub(super) held: Room,
    /// Jobs that are due and wait.
    pub(super) waiting: usize,
    /// When it last began an attempt within the reserve.
    drew_at: Option<Timestamp>,
}

/// A claim in progress: what is free by now, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<'a> {
    pub(super) free: Room,
    pub(super) reserve: &'a Reserve,
    pub(super) now: Timestamp,
}

impl Reserve {
    /// The reserve of a host with this room: `slots` of its slots and the same part of its memory for
    /// queues, half of that for tenants.
    #[must_use]
    pub fn new(host: Room, slots: usize) -> Self {
        let part = |slots: usize| Room {
            attempts: slots,
            memory_bytes: host.memory_bytes / host.attempts.max(1) as u64 * slots as u64,
        };
        if slots == 0 {
            Self::default()
        } else {
            Self { host, queue: part(slots), tenant: part(slots / 2) }
        }
    }
}

impl Offer<'_> {
    /// Whether a queue with the share `queue`, of a tenant with the share `tenant`, may begin an
    /// attempt that takes `memory_bytes`.
    pub(super) fn allows(&self, queue: &Share, tenant: &Share, memory_bytes: u64) -> bool {
        let may = |share: &Share, left: Room| {
            !self.is_within(share, left, memory_bytes)
                || share.drew_at.is_none_or(|at| until(at, self.now) >= PACE)
        };
        may(queue, self.reserve.queue) && may(tenant, self.reserve.tenant)
    }

    /// Notes that an attempt begins, as [`Self::allows`] allowed.
    pub(super) fn begins(&self, queue: &mut Share, tenant: &mut Share, memory_bytes: u64) {
        for (share, left) in [(queue, self.reserve.queue), (tenant, self.reserve.tenant)] {
            if self.is_within(share, left, memory_bytes) {
                share.drew_at = Some(self.now);
            }
        }
    }

    /// Whether the share is large and has more waiting than there is room for, so that the attempt would
    /// take what it is to leave free.
    fn is_within(&self, share: &Share, left: Room, memory_bytes: u64) -> bool {
        let (host, held, free) = (self.reserve.host, share.held, self.free);
        let is_large = 2 * held.attempts >= host.attempts
            || held.memory_bytes.saturating_mul(2) >= host.memory_bytes;
        let wanted = memory_bytes.saturating_mul(share.waiting as u64);
        let takes_slots = free.attempts <= left.attempts && share.waiting > free.attempts;
        let takes_memory = free.memory_bytes.saturating_sub(memory_bytes) < left.memory_bytes
            && wanted > free.memory_bytes;
        left.attempts > 0 && is_large && (takes_slots || takes_memory)
    }
}
