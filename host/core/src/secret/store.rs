//! The trait of the store of secrets.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::bound::{Secret, SecretError};
use super::tenant_secrets::TenantSecrets;
use crate::clock::Timestamp;
use crate::grant::secret_name::SecretName;
use crate::store::StoreError;
use crate::tenant::TenantName;

/// Stores secrets. A change is atomic, and on disk when the call returns. How old an answer from memory may
/// be: see [staleness](crate::store#staleness).
#[async_trait]
pub trait SecretStore: Debug + Send + Sync + 'static {
    /// The secrets of a tenant, with those that were replaced or removed, for as long as jobs are kept.
    /// From memory: they are looked up for each request of a guest, and for each piece of a response.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the memory is too old: a guest could use a secret that was removed,
    /// and see one that was set.
    fn of(&self, tenant: &TenantName) -> Result<Arc<TenantSecrets>, StoreError>;

    /// All secrets of a tenant, by name.
    async fn list(&self, tenant: &TenantName) -> Result<Vec<(SecretName, Secret)>, StoreError>;

    /// Sets a secret; returns whether the name is new.
    ///
    /// # Errors
    /// If there are too many, or it cannot be written.
    async fn set(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        secret: Secret,
    ) -> Result<bool, SecretError>;

    /// Removes a secret at this time; returns whether there was one.
    ///
    /// # Errors
    /// If that cannot be written.
    async fn remove(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        at: Timestamp,
    ) -> Result<bool, SecretError>;
}
