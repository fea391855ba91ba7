//! The plugin registry on disk: bytes by digest, and a small index file per plugin.
//!
//! ```text
//! plugins/wasm/<sha-256>.wasm            the bytes; never changed
//! plugins/index/<name>.json              settings and versions of a plugin of the default tenant
//! plugins/tenants/<tenant>/<name>.json   the same, for other tenants
//! ```
//!
//! Files are written to a temporary file, synced and renamed, the bytes before the index that refers to
//! them. A crash leaves at most bytes that no index refers to, and the next start removes them.

pub(crate) mod compile_request;
pub mod compiled;
pub(crate) mod compiler;
mod files;
mod index;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::clock::Timestamp;
use jobwright_core::plugin::{Digest, Plugin, PluginName, PluginSettings, Version};
use jobwright_core::registry::{PluginRegistry, Published, RegistryError, Upload};
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;

use self::index::PluginIndex;

/// The plugin registry; see the module documentation.
#[derive(Debug)]
pub struct DiskRegistry {
    index: Arc<PluginIndex>,
}

impl DiskRegistry {
    /// Opens or creates the registry in `directory`, which the caller has locked, for plugins of at most
    /// `most_bytes` in total.
    ///
    /// # Errors
    /// If the directory cannot be used, or an index cannot be read.
    pub fn open(directory: &Path, most_bytes: u64) -> anyhow::Result<Self> {
        Ok(Self { index: Arc::new(PluginIndex::open(directory, most_bytes)?) })
    }

    /// Runs `work` on a blocking thread (`spawn_blocking`). It completes even if the future is dropped.
    async fn work<A: Send + 'static>(
        &self,
        work: impl FnOnce(&PluginIndex) -> Result<A, RegistryError> + Send + 'static,
    ) -> Result<A, RegistryError> {
        let index = self.index.clone();
        tokio::task::spawn_blocking(move || work(&index)).await.unwrap_or_else(|broken| {
            let action = "finish the work on the blocking thread".to_owned();
            Err(RegistryError::Io { action, source: broken.into() })
        })
    }
}

#[async_trait]
impl PluginRegistry for DiskRegistry {
    async fn publish(&self, upload: Upload, now: Timestamp) -> Result<Published, RegistryError> {
        self.work(move |index| index.publish(upload, now)).await
    }

    async fn get(
        &self,
        tenant: &TenantName,
        name: &PluginName,
    ) -> Result<Option<Arc<Plugin>>, StoreError> {
        Ok(self.index.get(&(tenant.clone(), name.clone())))
    }

    async fn list(
        &self,
        tenant: &TenantName,
        after: Option<&PluginName>,
        most: usize,
    ) -> Result<Vec<Arc<Plugin>>, StoreError> {
        Ok(self.index.list(tenant, after, most))
    }

    async fn configure(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        settings: PluginSettings,
    ) -> Result<Option<Plugin>, RegistryError> {
        let key = (tenant.clone(), name.clone());
        self.work(move |index| index.configure(&key, settings)).await
    }

    async fn remove(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        version: Option<&Version>,
    ) -> Result<bool, RegistryError> {
        let (key, version) = ((tenant.clone(), name.clone()), version.cloned());
        self.work(move |index| index.remove(&key, version.as_ref())).await
    }

    async fn wasm(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError> {
        let digest = *digest;
        self.work(move |index| index.wasm(&digest)).await
    }

    async fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, RegistryError> {
        let digest = *digest;
        let file = self.work(move |index| index.open_wasm(&digest)).await?;
        Ok(file.map(|file| Box::new(file) as Box<dyn Read + Send>))
    }
}
