//! The bytes that each tenant stores of data that is trimmed beyond a bound: history and logs.

use std::collections::BTreeMap;

use crate::tenant::TenantName;

/// Bytes by tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldBytes {
    by_tenant: BTreeMap<TenantName, u64>,
    bytes: u64,
}

impl HeldBytes {
    /// The bytes of all tenants.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes of `tenant`.
    #[must_use]
    pub fn of(&self, tenant: &TenantName) -> u64 {
        self.by_tenant.get(tenant).copied().unwrap_or(0)
    }

    /// Adds bytes of a tenant.
    pub fn add(&mut self, tenant: &TenantName, bytes: u64) {
        match self.by_tenant.get_mut(tenant) {
            Some(held) => *held += bytes,
            None => drop(self.by_tenant.insert(tenant.clone(), bytes)),
        }
        self.bytes += bytes;
    }

    /// Removes bytes of a tenant, at most as many as it has.
    pub fn remove(&mut self, tenant: &TenantName, bytes: u64) {
        let Some(held) = self.by_tenant.get_mut(tenant) else { return };
        let bytes = bytes.min(*held);
        (*held, self.bytes) = (*held - bytes, self.bytes - bytes);
        if *held == 0 {
            self.by_tenant.remove(tenant);
        }
    }

    /// The tenant with most bytes, from which data is trimmed.
    #[must_use]
    pub fn largest(&self) -> Option<&TenantName> {
        self.by_tenant.iter().max_by_key(|(_, bytes)| **bytes).map(|(tenant, _)| tenant)
    }
}

impl FromIterator<(TenantName, u64)> for HeldBytes {
    fn from_iter<I: IntoIterator<Item = (TenantName, u64)>>(all: I) -> Self {
        let mut held = Self::default();
        all.into_iter().for_each(|(tenant, bytes)| held.add(&tenant, bytes));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_with_the_most_bytes_is_tracked_through_changes() {
        let [a, b] = ["a", "b"].map(|name| name.parse::<TenantName>().expect("a name"));
        let mut held = HeldBytes::from_iter([(a.clone(), 5), (b.clone(), 7)]);
        assert_eq!(held.largest(), Some(&b));
        held.remove(&b, 3);
        assert_eq!((held.largest(), held.bytes(), held.of(&b)), (Some(&a), 9, 4));
        held.remove(&a, 100);
        assert_eq!((held.largest(), held.bytes()), (Some(&b), 4));
        held.remove(&b, 4);
        assert_eq!(held, HeldBytes::default());
    }
}
