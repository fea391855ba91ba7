//! Tenants: who share a host without seeing one another.

use crate::name::name_type;

name_type! {
    /// The name of a tenant.
    TenantName
}

impl Default for TenantName {
    /// Whose everything is while nobody has made others.
    fn default() -> Self {
        Self("default".into())
    }
}

impl TenantName {
    /// Whether it is the one that always exists.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
