//! The share of a tenant or a lane in the hosts, and its turn, which is derived from it.

use super::place::Place;
use super::room::Room;
use crate::clock::Timestamp;

/// The share of a tenant or a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Its attempts in flight, on all hosts.
    pub running: Room,
    /// Those of them on the host that claims.
    pub here: Room,
    /// Its jobs that are due and wait.
    pub waiting: usize,
    /// The number of the turn in which it was served last.
    pub served: u64,
    /// When it last began an attempt within the reserve, or first came to its edge.
    pub drew_at: Option<Timestamp>,
}

/// The place of a tenant among tenants, or of a lane among those of its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// Attempts in flight.
    pub running: usize,
    /// The number of the turn in which it was served last.
    pub served: u64,
}

/// The place of a job among the heads of the lanes of its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneTurn {
    /// The turn of its lane.
    pub lane: Turn,
    /// Its place in the lane, which decides between lanes that came at the same time.
    pub place: Place,
}

impl Share {
    /// The share of a tenant or a lane that comes when `latest` is the number of the latest turn: it is served
    /// before the one that was served last, and after those that have waited longer. Turns therefore have even
    /// numbers.
    #[must_use]
    pub fn arriving(latest: u64) -> Self {
        Self { served: latest.saturating_sub(1), ..Self::default() }
    }

    /// Its turn.
    #[must_use]
    pub fn turn(&self) -> Turn {
        Turn { running: self.running.attempts, served: self.served }
    }

    /// The turn of a job with this place in a lane with this share.
    #[must_use]
    pub fn lane_turn(&self, place: Place) -> LaneTurn {
        LaneTurn { lane: self.turn(), place }
    }
}

/// The shares in which a job begins.
#[derive(Debug)]
pub struct Shares<'a> {
    /// The turn of its tenant.
    pub tenant: &'a mut Share,
    /// How many attempts the tenant may have in flight, if less than the host.
    pub limit: Option<usize>,
    /// The turn of its lane.
    pub lane: &'a mut Share,
    /// The number of this turn.
    pub turn: u64,
}
