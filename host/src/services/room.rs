//! How many bytes of bodies are held at a time: by the host for all attempts, for those of each tenant,
//! and for each. What has come is counted until the guest has let go of it.

use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::limits::show_bytes;
use jobwright_core::services::HttpRequestError;
use jobwright_core::tenant::{Full, TenantName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shares::table::{GUEST_BODIES, GUEST_UNIT_BYTES as UNIT_BYTES};
use crate::shares::{Permit, Share, Shares};

/// All bodies of all attempts together, in bytes: as much as the interface takes for its own.
const HOST_BYTES: u64 = GUEST_BODIES.all * UNIT_BYTES;

/// Of these, those of one tenant that is alone.
const TENANT_BYTES: u64 = HOST_BYTES / 2;

/// Room for bodies.
#[derive(Debug, Clone)]
pub(super) struct Room {
    shared: Share,
    own: Arc<Semaphore>,
    own_bytes: u64,
}

/// The room of a host, of which that of attempts is a part.
#[derive(Debug)]
pub(super) struct HostRoom(Shares);

impl Default for HostRoom {
    fn default() -> Self {
        Self(Shares::new(&GUEST_BODIES))
    }
}

impl HostRoom {
    /// Room for one attempt of `tenant`, which holds no more than `bytes`.
    pub(super) fn part(&self, tenant: &TenantName, bytes: u64) -> Room {
        let own_bytes = bytes.min(TENANT_BYTES);
        // Bodies are counted in whole units, so those of their last ones go beside.
        let own = Arc::new(Semaphore::new(units(own_bytes) as usize + 64));
        Room { shared: self.0.of(tenant), own, own_bytes }
    }
}

impl Room {
    /// Room for `bytes` more.
    pub(super) fn take(&self, bytes: u64) -> Result<Place, HttpRequestError> {
        let units = units(bytes);
        let full = |who: &str, most: u64| {
            HttpRequestError::NoRoom(format!(
                "{who} holds {} of bodies, its maximum",
                show_bytes(most)
            ))
        };
        let own = self.own.clone().try_acquire_many_owned(units);
        let own = own.map_err(|_| {
            let most = show_bytes(self.own_bytes);
            HttpRequestError::NoRoom(format!(
                "the attempt holds {most} of bodies, its maximum, which follows from \
                 `grants.http_limits` (concurrent, request_bytes, response_bytes)"
            ))
        })?;
        let shared = self.shared.try_acquire(units).map_err(|taken| match taken {
            Full::Tenant => full("its tenant", TENANT_BYTES),
            Full::All => full("the host", HOST_BYTES),
        })?;
        Ok(Place { _own: own, _shared: shared })
    }

    /// Room for a body that comes in pieces, which its sender keeps to `most` bytes.
    pub(super) fn body(&self, most: u64) -> Held {
        Held { bytes: vec![], room: self.clone(), places: vec![], most }
    }
}

/// Room that was taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    _shared: Permit,
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
    /// Adds what has come.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), HttpRequestError> {
        let length = self.bytes.len() + data.len();
        let capacity = self.bytes.capacity();
        if length > capacity {
            // Twice as much each time, so that few moves are made; counted before it is taken.
            let most = usize::try_from(self.most).unwrap_or(usize::MAX);
            let wanted = length.max(capacity.saturating_mul(2).min(most));
            self.places.push(self.room.take((wanted - capacity) as u64)?);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Takes what has come, with its room.
    pub(super) fn take(&mut self) -> Self {
        let empty = self.room.body(self.most);
        std::mem::replace(self, empty)
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
mod tests;
