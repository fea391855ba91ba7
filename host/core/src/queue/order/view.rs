//! The facts that a pick sees, as plain data.

use super::due::Due;
use super::place::Place;
use super::reserve::{Offer, Reserve};
use super::room::Room;
use super::share::{LaneTurn, Share};
use super::suspects::InFlight;
use crate::clock::Timestamp;
use crate::queue::name::QueueName;

/// The room of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// The free slots and memory of its host.
    pub free: Room,
    /// Whether no attempt runs there.
    pub idle: bool,
    /// The part of the host that large shares leave free.
    pub reserve: &'a Reserve,
}

impl<'a> Want<'a> {
    /// The offer to tenants.
    pub(super) fn offer(&self, now: Timestamp) -> Offer<'a> {
        Offer { free: self.free, reserve: self.reserve, now }
    }
}

/// The jobs that may begin.
#[derive(Debug, Clone, Copy)]
pub struct View<T> {
    /// The suspects among the attempts in flight on the host that claims.
    pub in_flight: InFlight,
    /// The [tenants](Tenant) that have a job that is due, by their [turn](Share::turn).
    pub tenants: T,
}

/// A tenant.
#[derive(Debug, Clone, Copy)]
pub struct Tenant<L> {
    /// The share of the tenant.
    pub share: Share,
    /// How many attempts it may have in flight, if less than the host; 0 if it is disabled.
    pub limit: Option<usize>,
    /// The [heads](Head) of its lanes, by their [turn](Head::turn).
    pub lanes: L,
}

/// The first job of a lane among those of the same [`Trust`](super::due::Trust).
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The queue of its tenant that is the lane.
    pub queue: &'a QueueName,
    /// The share of the lane.
    pub share: Share,
    /// Whether the queue is paused.
    pub is_held: bool,
    /// The job's place in the lane.
    pub place: Place,
    /// The job.
    pub due: Due,
}

impl Head<'_> {
    /// Its place among the heads of its tenant.
    #[must_use]
    pub fn turn(&self) -> LaneTurn {
        self.share.lane_turn(self.place)
    }
}
