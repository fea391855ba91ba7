//! What a tenant or a lane uses: its share of all hosts, and the part of it on each host.

use super::order::room::Room;
use super::order::share::Share;
use crate::host::HostId;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct InUse {
    share: Share,
    /// The attempts in flight on each host that has some. Few hosts share a queue in memory, so a list is searched
    /// faster than a map.
    on_hosts: Vec<(HostId, Room)>,
}

impl InUse {
    /// No attempts in flight.
    pub(super) fn new(share: Share) -> Self {
        Self { share, on_hosts: vec![] }
    }

    /// The share as of the latest change.
    pub(super) fn share(&self) -> &Share {
        &self.share
    }

    /// The share, to be changed.
    pub(super) fn share_mut(&mut self) -> &mut Share {
        &mut self.share
    }

    /// The share for a claim of `host`.
    pub(super) fn share_on(&self, host: HostId) -> Share {
        Share { here: self.on(host), ..self.share }
    }

    /// The share for a claim of `host`, to be changed.
    pub(super) fn seen_by(&mut self, host: HostId) -> &mut Share {
        self.share.here = self.on(host);
        &mut self.share
    }

    fn on(&self, host: HostId) -> Room {
        let found = self.on_hosts.iter().find(|(id, _)| *id == host);
        found.map_or_else(Room::default, |(_, room)| *room)
    }

    /// Counts an attempt that begins on `host`.
    pub(super) fn begin(&mut self, host: HostId, memory_bytes: u64) {
        self.share.running.add(memory_bytes);
        match self.on_hosts.iter_mut().find(|(id, _)| *id == host) {
            Some((_, room)) => room.add(memory_bytes),
            None => self.on_hosts.push((host, Room { attempts: 1, memory_bytes })),
        }
    }

    /// Counts an attempt that ended on `host`.
    pub(super) fn end(&mut self, host: HostId, memory_bytes: u64) {
        self.share.running.take(memory_bytes);
        let Some(place) = self.on_hosts.iter().position(|(id, _)| *id == host) else { return };
        let room = &mut self.on_hosts[place].1;
        room.take(memory_bytes);
        if room.attempts == 0 {
            self.on_hosts.swap_remove(place);
        }
    }
}
