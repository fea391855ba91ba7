//! The reserve: what a queue or a tenant with a large share of a host leaves free on it.
//!
//! Attempts are not preempted, so a job can begin at once only where a slot is free. A queue that holds
//! half of a host or more, and that has more jobs waiting than there is room for, therefore takes the
//! last free slots slowly: when no more than the reserve is free, it begins one attempt per [`PACE`],
//! divided by the slots of the reserve. A queue that is alone still gets every slot, after a while, if
//! its jobs take long. The same holds for memory, for tenants with half of the reserve, and for the
//! queues of a tenant that may have fewer attempts in flight than the host, with a part of it.
//!
//! The cost: of 64 slots, the backlog of a queue that is alone keeps 56 busy with short jobs, and one
//! more for each 15 s that its jobs take, from 60 on for each 30 s.

use std::time::Duration;

use super::room::Room;
use super::share::Share;
use crate::clock::{Timestamp, until};

/// How long a large share takes for all of a reserve: twice the default time limit of an attempt, so
/// that attempts of that length leave half of it free.
const PACE: Duration = Duration::from_secs(120);

/// The least limit of attempts in flight of which a tenant's queue leaves one free: of fewer, one is too
/// large a part, and a tenant that needs no more than these waits for few.
const LEAST_SHARED: usize = 4;

/// The part of a host that large shares leave free. The default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserve {
    host: Room,
    queue: Room,
    tenant: Room,
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

    /// The same with memory for an attempt that takes `memory_bytes`, beyond what large tenants leave and
    /// beyond what large queues leave; but no more than half of the host's memory.
    #[must_use]
    pub fn fitting(mut self, memory_bytes: u64) -> Self {
        let host = self.host.memory_bytes;
        let at_least = |left: &mut Room, attempts: u64| {
            let least = memory_bytes.saturating_mul(attempts).min(host / 4 * attempts);
            left.memory_bytes = left.memory_bytes.max(least);
        };
        at_least(&mut self.queue, 2);
        at_least(&mut self.tenant, 1);
        self
    }
}

/// The slots and memory that a claim offers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<'a> {
    pub(super) free: Room,
    pub(super) reserve: &'a Reserve,
    pub(super) now: Timestamp,
}

impl Offer<'_> {
    /// The offer to a tenant with this share and a limit of `most` attempts in flight, if it is
    /// below that and there are slots for it.
    pub(super) fn to(&self, tenant: &Share, most: Option<usize>) -> Option<TenantOffer> {
        if most.is_some_and(|most| tenant.running.attempts >= most) {
            return None;
        }
        let Self { free, reserve, now } = *self;
        let whole = Scope { all: reserve.host, free, left: reserve.tenant, is_limit: false, now };
        let lane = Scope { left: reserve.queue, ..whole }.within(tenant, most);
        let offer = TenantOffer { tenant: *tenant, whole, lane };
        whole.has_slots(tenant).then_some(offer)
    }
}

/// The slots and memory that a claim offers to the lanes of one tenant.
#[derive(Debug, Clone, Copy)]
pub(super) struct TenantOffer {
    tenant: Share,
    /// The part that the tenant leaves free.
    whole: Scope,
    /// The part that each of its lanes leaves free.
    lane: Scope,
}

impl TenantOffer {
    /// Whether a lane with this share may begin an attempt that takes `memory_bytes`.
    pub(super) fn allows(&self, lane: &Share, memory_bytes: u64) -> bool {
        self.lane.has_slots(lane)
            && self.lane.has_memory(lane, memory_bytes)
            && self.whole.has_memory(&self.tenant, memory_bytes)
    }

    /// Notes that an attempt begins, as [`Self::allows`] allowed.
    pub(super) fn begins(&self, lane: &mut Share, tenant: &mut Share, memory_bytes: u64) {
        self.lane.begins(lane, memory_bytes);
        self.whole.begins(tenant, memory_bytes);
    }
}

/// A shared resource, and the part that a large share leaves free.
#[derive(Debug, Clone, Copy)]
struct Scope {
    all: Room,
    free: Room,
    left: Room,
    /// Whether it is the limit of a tenant, whose attempts count on all hosts; else it is the host that claims.
    is_limit: bool,
    now: Timestamp,
}

impl Scope {
    /// The resource for the lanes of a tenant that may have at most `most` attempts in flight: they
    /// share these, and leave the same part of them free.
    fn within(mut self, tenant: &Share, most: Option<usize>) -> Self {
        let Some(most) = most.filter(|most| *most < self.all.attempts) else { return self };
        let part = self.left.attempts * most / self.all.attempts;
        let least = usize::from(self.left.attempts > 0 && most >= LEAST_SHARED);
        self.left.attempts = part.max(least);
        (self.all.attempts, self.is_limit) = (most, true);
        self.free.attempts = self.free.attempts.min(most.saturating_sub(tenant.running.attempts));
        self
    }

    fn has_slots(&self, share: &Share) -> bool {
        !self.takes_slots(share) || self.is_paced(share)
    }

    fn has_memory(&self, share: &Share, memory_bytes: u64) -> bool {
        !self.takes_memory(share, memory_bytes) || self.is_paced(share)
    }

    /// Whether the share is large and has more waiting than there are slots for, so that one more
    /// attempt takes a slot that it is to leave free.
    fn takes_slots(&self, share: &Share) -> bool {
        self.free.attempts <= self.left.attempts
            && share.waiting > self.free.attempts
            && self.is_large(share)
    }

    /// The same for memory.
    fn takes_memory(&self, share: &Share, memory_bytes: u64) -> bool {
        let wanted = memory_bytes.saturating_mul(share.waiting as u64);
        self.free.memory_bytes.saturating_sub(memory_bytes) < self.left.memory_bytes
            && wanted > self.free.memory_bytes
            && self.is_large(share)
    }

    fn is_large(&self, share: &Share) -> bool {
        let attempts = if self.is_limit { share.running.attempts } else { share.here.attempts };
        let half = 2 * attempts >= self.all.attempts
            || share.here.memory_bytes.saturating_mul(2) >= self.all.memory_bytes;
        self.left.attempts > 0 && half
    }

    /// Whether the share may begin another attempt within the reserve.
    fn is_paced(&self, share: &Share) -> bool {
        let slots = u32::try_from(self.left.attempts.max(1)).unwrap_or(u32::MAX);
        share.drew_at.is_none_or(|at| until(at, self.now) >= PACE / slots)
    }

    fn begins(mut self, share: &mut Share, memory_bytes: u64) {
        let takes = |scope: &Self, share: &Share| {
            scope.takes_slots(share) || scope.takes_memory(share, memory_bytes)
        };
        let draws = takes(&self, share);
        self.free.take(memory_bytes);
        let mut then = Share { waiting: share.waiting.saturating_sub(1), ..*share };
        then.running.add(memory_bytes);
        then.here.add(memory_bytes);
        // From the edge on, too: else the first attempt would begin there at once.
        if draws || share.drew_at.is_none() && takes(&self, &then) {
            share.drew_at = Some(self.now);
        }
    }
}
