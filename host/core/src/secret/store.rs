//! Secrets with the origins that they are bound to, and the trait of their store.

use std::fmt::Debug;

use async_trait::async_trait;
use thiserror::Error;

use super::value::SecretValue;
use crate::clock::Timestamp;
use crate::grant::origin::Origin;
use crate::grant::secret_name::SecretName;
use crate::tenant::TenantName;

/// The maximum number of origins of a secret: a service has a few names.
pub const MAX_ORIGINS: usize = 16;

/// The maximum number of secrets of a tenant: all are held in memory, and written together.
pub const MAX_SECRETS: usize = 100;

/// The maximum number of replaced or removed values of a tenant that stay masked.
///
/// One of an hour for as long as jobs are kept by default, which is 14 days, and some more. Beyond, the
/// oldest is forgotten.
pub const MAX_RETIRED: usize = 400;

/// A secret, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its value.
    pub value: SecretValue,
    /// The origins to which it may be sent.
    pub origins: Vec<Origin>,
    /// When it was set.
    pub created_at: Timestamp,
}

/// Stores secrets. A change is atomic, and on disk when the call returns.
#[async_trait]
pub trait SecretStore: Debug + Send + Sync + 'static {
    /// One secret, as of now.
    fn get(&self, tenant: &TenantName, name: &SecretName) -> Option<Secret>;

    /// Every value of the tenant, granted to a plugin or not, of which an origin has the host of `to`,
    /// at any port and in any scheme; with those that were replaced or removed, for as long as jobs
    /// are kept: the host may remember what it was sent.
    fn known_to(&self, tenant: &TenantName, to: &http::Uri) -> Vec<SecretValue>;

    /// All secrets of a tenant, by name.
    fn list(&self, tenant: &TenantName) -> Vec<(SecretName, Secret)>;

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

/// Why a secret was not kept.
#[derive(Debug, Error)]
pub enum SecretError {
    /// No more are taken.
    #[error("the tenant has {MAX_SECRETS} secrets, the maximum; remove some first")]
    Full,
    /// The disk did not take it.
    #[error("the secrets cannot be written: {0}")]
    Io(#[from] std::io::Error),
}
