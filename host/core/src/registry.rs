//! The trait of the store of plugins.

use std::io::{Cursor, Read};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use crate::capacity::QueueFull;
use crate::clock::Timestamp;
use crate::limits::show_bytes;
use crate::plugin::{
    Digest, Inspection, Plugin, PluginName, PluginSettings, PluginVersion, Version,
};
use crate::store::StoreError;
use crate::tenant::TenantName;

/// Keeps plugins: bytes by their digest, versions that never change, settings that do. Each change
/// happens entirely or not at all, also when the host dies in the middle.
///
/// Reads decide: which digest a job is pinned to, what an attempt is granted, whether a name is free. So
/// they are asynchronous, answer with what is committed, and fail if that cannot be read.
#[async_trait]
pub trait PluginRegistry: Send + Sync + 'static {
    /// Stores an inspected upload.
    async fn publish(&self, upload: Upload, now: Timestamp) -> Result<Published, RegistryError>;

    /// One plugin of a tenant. Called once for each plugin of a request with jobs, and for each attempt.
    async fn get(
        &self,
        tenant: &TenantName,
        name: &PluginName,
    ) -> Result<Option<Arc<Plugin>>, StoreError>;

    /// At most `most` plugins of a tenant by name, those after `after`.
    async fn list(
        &self,
        tenant: &TenantName,
        after: Option<&PluginName>,
        most: usize,
    ) -> Result<Vec<Arc<Plugin>>, StoreError>;

    /// Replaces the settings of a plugin; `None` if there is no such plugin.
    async fn configure(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        settings: PluginSettings,
    ) -> Result<Option<Plugin>, RegistryError>;

    /// Removes one version, or all with `None`; returns whether there was one. The caller checks that no
    /// unfinished job needs it, and accepts none meanwhile. A registry whose database has the jobs of other
    /// hosts too checks that in its own transaction, and fails.
    async fn remove(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        version: Option<&Version>,
    ) -> Result<bool, RegistryError>;

    /// The bytes with this digest, verified; `None` if they are not kept.
    async fn wasm(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError>;

    /// As [`Self::wasm`], to be read in pieces on a thread that may block, so that many slow readers hold no
    /// bytes in memory.
    async fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, RegistryError> {
        let bytes = self.wasm(digest).await?;
        Ok(bytes.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read + Send>))
    }
}

/// An upload that was inspected and may be stored.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its tenant.
    pub tenant: TenantName,
    /// The limit on all plugins of the tenant, in bytes, if there is one.
    pub tenant_bytes: Option<u64>,
    /// The plugin.
    pub name: PluginName,
    /// The version; absent for one made from the digest.
    pub version: Option<Version>,
    /// The bytes.
    pub wasm: Bytes,
    /// The result of their inspection.
    pub inspection: Inspection,
}

/// The result of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is new.
    Created(PluginVersion),
    /// It existed with the same bytes.
    Unchanged(PluginVersion),
    /// The version holds other bytes: versions never change.
    Conflict(PluginVersion),
}

/// The registry itself failed.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// Its store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading or writing failed.
    #[error("the plugin registry cannot {action}: {source}")]
    Io {
        /// The failed action.
        action: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Stored bytes are not what they were.
    #[error("the stored plugin {digest} is corrupt: its bytes have the digest {found}")]
    Corrupt {
        /// The expected digest.
        digest: Digest,
        /// The digest of the stored bytes.
        found: Digest,
    },
    /// No more versions are taken.
    #[error("the registry holds {held} versions, its maximum; remove some first")]
    Full {
        /// The versions that are stored.
        held: usize,
    },
    /// No more versions of this tenant are taken.
    #[error("tenant `{tenant}` holds {held} versions of plugins, its maximum; remove some first")]
    TooManyVersions {
        /// The tenant.
        tenant: TenantName,
        /// The versions that are stored.
        held: usize,
    },
    /// No more bytes of this tenant are taken.
    #[error(
        "tenant `{tenant}` holds {} of plugins of at most {}; remove some first",
        show_bytes(*held_bytes), show_bytes(*most_bytes)
    )]
    TenantFull {
        /// The tenant.
        tenant: TenantName,
        /// The bytes that are stored.
        held_bytes: u64,
        /// At most so many.
        most_bytes: u64,
    },
    /// No more bytes of this tenant are taken: it has its share of the room.
    #[error(
        "tenant `{tenant}` holds its share of the host's room for plugins: {} of at most {}; remove some \
         first",
        show_bytes(*held_bytes), show_bytes(*most_bytes)
    )]
    Share {
        /// The tenant.
        tenant: TenantName,
        /// The bytes that are stored.
        held_bytes: u64,
        /// Its share, given what other tenants hold.
        most_bytes: u64,
    },
    /// No more bytes are taken.
    #[error(
        "the registry holds {} of plugins of at most {}; remove some first",
        show_bytes(*held_bytes), show_bytes(*most_bytes)
    )]
    TooLarge {
        /// The bytes that are stored.
        held_bytes: u64,
        /// At most so many.
        most_bytes: u64,
    },
}

impl RegistryError {
    /// How the bound that refused an upload is raised; `None` if the bound is fixed, or there is none.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::TooLarge { .. } | Self::Share { .. } => {
                Some("the operator raises the maximum with `disk.plugin_bytes`".to_owned())
            }
            Self::TenantFull { tenant, .. } => {
                Some(QueueFull::remedy_of_tenant(tenant, "plugin-bytes"))
            }
            Self::Full { .. } | Self::TooManyVersions { .. } => None,
            Self::Store(_) | Self::Io { .. } | Self::Corrupt { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_can_be_raised_states_how() {
        let (tenant, held_bytes, most_bytes) = (TenantName::default(), 1, 1);
        let remedy = |error: RegistryError| error.remedy().unwrap_or_default();
        let full = remedy(RegistryError::TooLarge { held_bytes, most_bytes });
        assert!(full.contains("`disk.plugin_bytes`"), "{full}");
        let full = RegistryError::TenantFull { tenant: tenant.clone(), held_bytes, most_bytes };
        let full = remedy(full);
        assert!(full.contains("tenant set default --plugin-bytes"), "{full}");
        let share = RegistryError::Share { tenant: tenant.clone(), held_bytes, most_bytes };
        let share = remedy(share);
        assert!(share.contains("`disk.plugin_bytes`"), "{share}");
        let fixed = RegistryError::TooManyVersions { tenant, held: 1 };
        for fixed in [fixed, RegistryError::Full { held: 1 }] {
            assert!(fixed.remedy().is_none() && fixed.to_string().contains("remove some first"));
        }
    }
}
