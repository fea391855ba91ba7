//! How many bytes of bodies are held at a time: by the host for all attempts, and for each. What has
//! come is counted until the guest has let go of it.

use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::limits::show_bytes;
use jobwright_core::outside::Unsent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All bodies of all attempts together, in bytes: as much as the interface takes for its own.
const HOST_BYTES: u64 = 256 << 20;

/// The unit in which that is counted: a body takes one at least.
const UNIT_BYTES: u64 = 4 << 10;

/// Room for bodies.
#[derive(Debug, Clone)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
    own_bytes: u64,
}

/// The room of a host, of which that of attempts is a part.
#[derive(Debug)]
pub(super) struct HostRoom(Arc<Semaphore>);

impl Default for HostRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(units(HOST_BYTES) as usize)))
    }
}

impl HostRoom {
    /// Room for one attempt, which holds no more than `bytes`.
    pub(super) fn part(&self, bytes: u64) -> Room {
        let own_bytes = bytes.min(HOST_BYTES);
        // Bodies are counted in whole units, so those of their last ones go beside.
        let own = Arc::new(Semaphore::new(units(own_bytes) as usize + 64));
        Room { all: self.0.clone(), own, own_bytes }
    }
}

impl Room {
    /// Room for `bytes` more.
    pub(super) fn take(&self, bytes: u64) -> Result<Place, Unsent> {
        let units = units(bytes);
        let full = |who: &str, most: u64| {
            Unsent::NoRoom(format!("{who} holds {} of bodies, its maximum", show_bytes(most)))
        };
        let own = self.own.clone().try_acquire_many_owned(units);
        let own = own.map_err(|_| full("the attempt", self.own_bytes))?;
        let all = self.all.clone().try_acquire_many_owned(units);
        let all = all.map_err(|_| full("the host", HOST_BYTES))?;
        Ok(Place { _own: own, _all: all })
    }

    /// A body that comes in pieces, of at most `most` bytes.
    pub(super) fn body(&self, most: u64) -> Held {
        Held { bytes: vec![], room: self.clone(), places: vec![], most }
    }
}

/// Room that was taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// A body and its room.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    room: Room,
    places: Vec<Place>,
    most: u64,
}

impl Held {
    /// Refuses a body that says beforehand that it is longer than it may be.
    pub(super) fn expect(&self, length: u64) -> Result<(), Unsent> {
        if length > self.most { Err(Unsent::ResponseTooLong(self.most)) } else { Ok(()) }
    }

    /// Adds what has come.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), Unsent> {
        let length = self.bytes.len() + data.len();
        self.expect(length as u64)?;
        let capacity = self.bytes.capacity();
        if length > capacity {
            // Twice as much each time, so that few moves are made; counted before it is taken.
            let most = usize::try_from(self.most).unwrap_or(usize::MAX);
            let wanted = length.max(capacity.saturating_mul(2)).min(most);
            self.places.push(self.room.take((wanted - capacity) as u64)?);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// What has come.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The whole body, whose room is given back when nobody holds it any more.
    pub(super) fn into_bytes(self) -> Bytes {
        if self.bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_counted_until_the_last_of_it_is_let_go() {
        let host = HostRoom::default();
        let all = || host.0.available_permits();
        let before = all();
        let mut body = host.part(1 << 20).body(1 << 20);
        body.push(&[7; 10_000]).expect("there is room");
        body.push(&[8; 10_000]).expect("there is room");
        let bytes = body.into_bytes();
        let part = bytes.slice(9_999..10_001);
        assert_eq!(&part[..], [7, 8]);
        drop(bytes);
        assert!(all() < before, "a part holds the whole");
        drop(part);
        assert_eq!(all(), before);
    }

    #[test]
    fn an_attempt_holds_no_more_than_its_part() {
        let room = HostRoom::default().part(1 << 20);
        let mut held = vec![];
        let refused = loop {
            let mut body = room.body(1 << 20);
            match body.push(&[0; 100_000]) {
                Ok(()) => held.push(body.into_bytes()),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, Unsent::NoRoom(_)), "{refused}");
        assert!((10..=13).contains(&held.len()), "{}", held.len());
        held.clear();
        room.body(1 << 20).push(&[0; 1 << 20]).expect("all was given back");
    }

    #[test]
    fn a_body_is_refused_at_the_byte_after_its_most() {
        let mut body = HostRoom::default().part(1 << 20).body(5);
        body.push(b"12345").expect("as long as may be");
        assert_eq!(body.push(b"6"), Err(Unsent::ResponseTooLong(5)));
    }
}
