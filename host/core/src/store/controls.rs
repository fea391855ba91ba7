//! The trait that keeps what administrators set.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::error::StoreError;
use crate::hold::{Hold, HoldNote, VersionedHolds};
use crate::tenant::{TenantLimits, TenantName};

/// Settings of administrators: holds, and the limits of tenants.
#[async_trait]
pub trait Controls: Send + Sync + 'static {
    /// Sets `hold` with a note, which replaces an earlier one, or releases it without a note.
    /// Claims skip the jobs that a hold covers. Survives a restart.
    async fn set_held(&self, hold: Hold, note: Option<HoldNote>) -> Result<(), StoreError>;

    /// The holds, with the note of each, at one version.
    async fn versioned_holds(&self) -> Result<VersionedHolds, StoreError>;

    /// The holds, with the note of each.
    async fn holds(&self) -> Result<BTreeMap<Hold, HoldNote>, StoreError> {
        Ok(self.versioned_holds().await?.holds)
    }

    /// Gives a tenant limits of its own; survives a restart. What it holds and runs stays. Setting no
    /// limits removes the tenant's entry.
    async fn set_tenant(&self, tenant: TenantName, limits: TenantLimits) -> Result<(), StoreError>;

    /// The limits of a tenant; all absent if it was given none.
    async fn tenant(&self, name: &TenantName) -> Result<TenantLimits, StoreError>;

    /// The tenants that were given limits, by name.
    async fn tenants(&self) -> Result<Vec<(TenantName, TenantLimits)>, StoreError>;
}
