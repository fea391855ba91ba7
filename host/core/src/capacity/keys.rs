//! The size of the idempotency keys in use, with the stored parts of their jobs.

use std::collections::BTreeMap;

use super::full::QueueFull;
use super::limits::KeptLimits;
use crate::tenant::{Budget, Full, TenantLimits, TenantName};

/// The bytes of idempotency keys in use, by tenant.
#[derive(Debug, Default)]
pub struct HeldKeys {
    by_tenant: BTreeMap<TenantName, u64>,
    bytes: u64,
}

impl HeldKeys {
    /// The size of all of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts one of a tenant.
    pub fn add(&mut self, tenant: TenantName, bytes: u64) {
        *self.by_tenant.entry(tenant).or_default() += bytes;
        self.bytes += bytes;
    }

    /// Whether there is room for `more` bytes of a tenant with these limits: the limit on its
    /// payloads applies to its keys too.
    ///
    /// # Errors
    /// If there is no room.
    pub fn check(
        &self,
        tenant: &TenantName,
        limits: TenantLimits,
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
        let budget = Budget { all: kept.key_bytes, weight: Budget::KEPT };
        if budget.admits(self.bytes, own, more) == Err(Full::Tenant) {
            let (tenant, capacity_bytes) = (tenant.clone(), budget.share(self.bytes, own));
            return Err(QueueFull::ShareKeys { tenant, depth_bytes: own, capacity_bytes });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_keeps_all_it_can_leaves_room_for_the_keys_of_others() {
        let kept = KeptLimits { key_bytes: 800, ..KeptLimits::default() };
        let mut held = HeldKeys::default();
        let [a, b] = ["a", "b"].map(|name| name.parse::<TenantName>().expect("a name"));
        let limits = TenantLimits::default();
        while held.check(&a, limits, 10, kept).is_ok() {
            held.add(a.clone(), 10);
        }
        assert_eq!(held.bytes(), 700);
        let full = held.check(&a, limits, 10, kept).expect_err("it has its share");
        let share = QueueFull::ShareKeys { tenant: a, depth_bytes: 700, capacity_bytes: 700 };
        assert!(full == share && !full.is_of_tenant(), "{full}");
        held.check(&b, limits, 10, kept).expect("some is left");
    }
}
