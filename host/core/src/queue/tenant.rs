//! The lanes of one tenant.

use std::collections::{BTreeMap, BTreeSet};

use super::in_use::InUse;
use super::lane::{Lane, Turns};
use super::name::QueueName;
use super::order::share::{LaneTurn, Share, Turn};
use super::order::view::Head;
use crate::host::HostId;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(super) struct Tenant {
    pub(super) in_use: InUse,
    pub(super) lanes: BTreeMap<QueueName, Lane>,
    /// The first jobs of the lanes that are not paused, in the order of claims. Other lanes are parked in `lanes`:
    /// the job or the resumption that wakes them brings them back.
    heads: BTreeSet<(LaneTurn, QueueName)>,
}

impl Tenant {
    /// A tenant without lanes.
    pub(super) fn new(share: Share) -> Self {
        Self { in_use: InUse::new(share), ..Self::default() }
    }

    /// Its place among tenants, if it has a job that is due and is below its `limit` of attempts in flight.
    pub(super) fn turn(&self, limit: Option<usize>) -> Option<Turn> {
        let is_below = limit.is_none_or(|limit| self.in_use.share().running.attempts < limit);
        (is_below && !self.heads.is_empty()).then(|| self.in_use.share().turn())
    }

    /// The first jobs of its lanes, in the order of claims, as `host` sees them.
    pub(super) fn heads(&self, host: HostId) -> impl Iterator<Item = Head<'_>> {
        self.heads.iter().filter_map(move |(turn, queue)| {
            let lane = self.lanes.get(queue)?;
            let (share, is_held, place) = (lane.in_use.share_on(host), lane.is_held, turn.place);
            Some(Head { queue, share, is_held, place, due: lane.first_at(place)? })
        })
    }

    /// Changes a lane, if there is one, and its share and turn with it.
    pub(super) fn change(&mut self, queue: &QueueName, step: impl FnOnce(&mut Lane, &mut InUse)) {
        let Some(lane) = self.lanes.get_mut(queue) else { return };
        let before = (lane.turns(), lane.waiting());
        step(lane, &mut self.in_use);
        let waiting = lane.waiting();
        lane.in_use.share_mut().waiting = waiting;
        let share = self.in_use.share_mut();
        share.waiting = share.waiting + waiting - before.1;
        let now = lane.turns();
        self.moved(queue, before.0, now);
    }

    /// Puts the heads of a lane where they belong now.
    fn moved(&mut self, queue: &QueueName, before: Turns, now: Turns) {
        for (before, now) in before.into_iter().zip(now).filter(|(before, now)| before != now) {
            if let Some(turn) = before {
                self.heads.remove(&(turn, queue.clone()));
            }
            if let Some(turn) = now {
                self.heads.insert((turn, queue.clone()));
            }
        }
    }
}
