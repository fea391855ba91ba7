//! The memory budget of HTTP bodies of guests: of the host, of each tenant and of each attempt. Bytes count
//! until the guest has dropped them.

use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::limits::show_bytes;
use jobwright_core::services::HttpRequestError;
use jobwright_core::tenant::{Full, TenantName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shares::table::{GUEST_BODIES, GUEST_UNIT_BYTES as UNIT_BYTES};
use crate::shares::{Permit, Share, Shares};

/// The bodies of all attempts together, in bytes: as much as the HTTP interface has for its own.
const HOST_BYTES: u64 = GUEST_BODIES.all * UNIT_BYTES;

/// The bodies of one tenant while no other tenant has any, in bytes.
const TENANT_BYTES: u64 = HOST_BYTES / 2;

/// The budget of one attempt.
#[derive(Debug, Clone)]
pub(super) struct BodyBudget {
    shared: Share,
    own: Arc<Semaphore>,
    own_bytes: u64,
}

/// The budget of the host, which the budgets of all attempts share.
#[derive(Debug)]
pub(super) struct HostBodyBudget(Shares);

impl Default for HostBodyBudget {
    fn default() -> Self {
        Self(Shares::new(&GUEST_BODIES))
    }
}

impl HostBodyBudget {
    /// The budget of one attempt of `tenant`, of at most `bytes`.
    pub(super) fn of_attempt(&self, tenant: &TenantName, bytes: u64) -> BodyBudget {
        let own_bytes = bytes.min(TENANT_BYTES);
        // Each body takes whole units: 64 more, so that partly used units do not reduce the budget.
        let own = Arc::new(Semaphore::new(units(own_bytes) as usize + 64));
        BodyBudget { shared: self.0.of(tenant), own, own_bytes }
    }
}

impl BodyBudget {
    /// Permits for `bytes` more.
    ///
    /// # Errors
    /// If the attempt, its tenant or the host has its maximum; the message names which.
    pub(super) fn try_acquire(&self, bytes: u64) -> Result<BodyPermit, HttpRequestError> {
        let units = units(bytes);
        let full = |owner: &str, max: u64| {
            let max = show_bytes(max);
            HttpRequestError::NoRoom(format!("{owner} holds bodies of {max}, its maximum"))
        };
        let own = self.own.clone().try_acquire_many_owned(units);
        let own = own.map_err(|_| {
            let max = show_bytes(self.own_bytes);
            HttpRequestError::NoRoom(format!(
                "the attempt holds bodies of {max}, its maximum, which follows from \
                 `grants.http_limits` (concurrent, request_bytes, response_bytes)"
            ))
        })?;
        let shared = self.shared.try_acquire(units).map_err(|taken| match taken {
            Full::Tenant => full("its tenant", TENANT_BYTES),
            Full::All => full("the host", HOST_BYTES),
        })?;
        Ok(BodyPermit { _own: own, _shared: shared })
    }

    /// An empty buffer for a body that arrives in pieces, of at most `max_bytes` in all, which the caller
    /// checks.
    pub(super) fn buffer(&self, max_bytes: u64) -> BodyBuffer {
        BodyBuffer { bytes: vec![], budget: self.clone(), permits: vec![], max_bytes }
    }
}

/// A part of the budget; released on drop.
#[derive(Debug)]
pub(super) struct BodyPermit {
    _own: OwnedSemaphorePermit,
    _shared: Permit,
}

/// A body, or what has arrived of it, with its permits.
#[derive(Debug)]
pub(super) struct BodyBuffer {
    bytes: Vec<u8>,
    budget: BodyBudget,
    permits: Vec<BodyPermit>,
    max_bytes: u64,
}

impl BodyBuffer {
    /// Appends `data`.
    ///
    /// # Errors
    /// If the budget has no permits for it.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), HttpRequestError> {
        let length = self.bytes.len() + data.len();
        let capacity = self.bytes.capacity();
        if length > capacity {
            // The capacity doubles, so that few copies are made. Permits come before the memory.
            let max = usize::try_from(self.max_bytes).unwrap_or(usize::MAX);
            let wanted = length.max(capacity.saturating_mul(2).min(max));
            self.permits.push(self.budget.try_acquire((wanted - capacity) as u64)?);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Takes the contents with their permits; the buffer is then empty.
    pub(super) fn take(&mut self) -> Self {
        let empty = self.budget.buffer(self.max_bytes);
        std::mem::replace(self, empty)
    }

    /// The contents, to be changed in place.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The contents. Their permits are released with the last reference.
    pub(super) fn into_bytes(self) -> Bytes {
        if self.bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for BodyBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
