//! What the answers to idempotency keys take.

use std::collections::BTreeMap;

use super::{KeptLimits, QueueFull};
use crate::tenant::{TenantLimits, TenantName};

/// The answers to idempotency keys, by tenant.
#[derive(Debug, Default)]
pub struct HeldKeys {
    by_tenant: BTreeMap<TenantName, u64>,
    bytes: u64,
}

impl HeldKeys {
    /// What all of them take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts one of a tenant.
    pub fn add(&mut self, tenant: TenantName, bytes: u64) {
        *self.by_tenant.entry(tenant).or_default() += bytes;
        self.bytes += bytes;
    }

    /// Whether there is room for `more` bytes of a tenant with these limits: it may hold as much of
    /// answers as of payloads.
    ///
    /// # Errors
    /// If there is none.
    pub fn check(
        &self,
        (tenant, limits): (&TenantName, TenantLimits),
        more: u64,
        kept: KeptLimits,
    ) -> Result<(), QueueFull> {
        let own = self.by_tenant.get(tenant).copied().unwrap_or(0);
        if let Some(capacity_bytes) = limits.payload_bytes
            && own.saturating_add(more) > capacity_bytes
        {
            let tenant = tenant.clone();
            return Err(QueueFull::TenantKeys { tenant, depth_bytes: own, capacity_bytes });
        }
        if self.bytes.saturating_add(more) > kept.key_bytes {
            let capacity_bytes = kept.key_bytes;
            return Err(QueueFull::Keys { depth_bytes: self.bytes, capacity_bytes });
        }
        Ok(())
    }
}

impl FromIterator<(TenantName, u64)> for HeldKeys {
    fn from_iter<I: IntoIterator<Item = (TenantName, u64)>>(all: I) -> Self {
        let mut held = Self::default();
        all.into_iter().for_each(|(tenant, bytes)| held.add(tenant, bytes));
        held
    }
}
