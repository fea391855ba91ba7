//! A lane: the due jobs of one queue of a tenant, in the order in which they begin.

use std::collections::BTreeMap;

use super::in_use::InUse;
use super::order::due::{Due, Trust};
use super::order::place::Place;
use super::order::share::{LaneTurn, Share};

/// The jobs of a lane are kept apart by their [`Trust`], as a job that may not start yet makes none of another
/// kind wait.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) in_use: InUse,
    /// Whether its queue is paused: it keeps its jobs and is not served.
    pub(super) is_held: bool,
    trusted: BTreeMap<Place, Due>,
    suspects: BTreeMap<Place, Due>,
    alone: BTreeMap<Place, Due>,
}

/// The turns of the first job of each kind, of those that may be served.
pub(super) type Turns = [Option<LaneTurn>; 3];

impl Lane {
    /// A lane without jobs.
    pub(super) fn new(share: Share, is_held: bool) -> Self {
        Self { in_use: InUse::new(share), is_held, ..Self::default() }
    }

    pub(super) fn insert(&mut self, place: Place, due: Due) {
        match due.trust {
            Trust::Trusted => self.trusted.insert(place, due),
            Trust::Suspect => self.suspects.insert(place, due),
            Trust::Alone => self.alone.insert(place, due),
        };
    }

    /// Removes a job, if it is in the lane.
    pub(super) fn remove(&mut self, place: &Place) {
        let kinds = [&mut self.trusted, &mut self.suspects, &mut self.alone];
        kinds.into_iter().find_map(|jobs| jobs.remove(place));
    }

    /// Jobs that wait for nothing but room.
    pub(super) fn waiting(&self) -> usize {
        if self.is_held { 0 } else { self.trusted.len() }
    }

    /// The first job of its kind that has this place.
    pub(super) fn first_at(&self, place: Place) -> Option<Due> {
        let mut firsts = self.kinds().into_iter().filter_map(|jobs| jobs.first_key_value());
        firsts.find(|(at, _)| **at == place).map(|(_, due)| *due)
    }

    pub(super) fn turns(&self) -> Turns {
        if self.is_held {
            return Turns::default();
        }
        let turn = |place: &Place| self.in_use.share().lane_turn(*place);
        let first = |jobs: &BTreeMap<Place, Due>| jobs.keys().next().map(turn);
        // Not by `map` of the array, which is not inlined: this is called at each change of a lane.
        [first(&self.trusted), first(&self.suspects), first(&self.alone)]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.in_use.share().running.attempts == 0
    }

    /// Its jobs that are due.
    pub(super) fn len(&self) -> usize {
        self.kinds().map(BTreeMap::len).into_iter().sum()
    }

    fn kinds(&self) -> [&BTreeMap<Place, Due>; 3] {
        [&self.trusted, &self.suspects, &self.alone]
    }
}
