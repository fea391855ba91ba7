//! Plugins on disk: bytes named by their digest, and one small index file for each plugin.
//!
//! ```text
//! plugins/wasm/<sha-256>.wasm     written once, never changed
//! plugins/index/<name>.json       the plugin's settings and versions
//! plugins/tenants/<tenant>/<name>.json   the same, of other tenants than the usual one
//! ```
//!
//! Every write goes to a temporary file, is synced and renamed, the bytes before the index that
//! names them: a crash leaves at most bytes that no index names, and those go at the next start.

pub mod compiled;
pub(crate) mod compiler;
mod files;
mod shelf;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::clock::Timestamp;
use jobwright_core::plugin::{Digest, Plugin, PluginName, PluginRef, PluginSettings, Version};
use jobwright_core::registry::{
    NotFound, PluginRegistry, Published, RegistryError, Resolved, Upload,
};

use jobwright_core::tenant::TenantName;

use self::shelf::Shelf;

/// See the module's text.
#[derive(Debug)]
pub struct DiskRegistry {
    shelf: Arc<Shelf>,
}

impl DiskRegistry {
    /// Opens or makes the registry in `directory`, which the caller has locked, for plugins of at
    /// most `most_bytes`.
    ///
    /// # Errors
    /// With a reason a person can act on, if the directory cannot be used or an index not be read.
    pub fn open(directory: &Path, most_bytes: u64) -> anyhow::Result<Self> {
        Ok(Self { shelf: Arc::new(Shelf::open(directory, most_bytes)?) })
    }

    /// Works on a blocking thread, where it is done to its end even if the caller goes away.
    async fn work<A: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<A, RegistryError> + Send + 'static,
    ) -> Result<A, RegistryError> {
        let shelf = self.shelf.clone();
        tokio::task::spawn_blocking(move || work(&shelf)).await.unwrap_or_else(|broken| {
            let action = "finish the work on the blocking thread".to_owned();
            Err(RegistryError::Io { action, source: broken.into() })
        })
    }
}

#[async_trait]
impl PluginRegistry for DiskRegistry {
    async fn publish(&self, upload: Upload, now: Timestamp) -> Result<Published, RegistryError> {
        self.work(move |shelf| shelf.publish(upload, now)).await
    }

    fn resolve(&self, tenant: &TenantName, reference: &PluginRef) -> Result<Resolved, NotFound> {
        self.shelf.resolve(tenant, reference)
    }

    fn get(&self, tenant: &TenantName, name: &PluginName) -> Option<Plugin> {
        self.shelf.get(&(tenant.clone(), name.clone()))
    }

    fn list(&self, tenant: &TenantName, after: Option<&PluginName>, most: usize) -> Vec<Plugin> {
        self.shelf.list(tenant, after, most)
    }

    async fn configure(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        settings: PluginSettings,
    ) -> Result<Option<Plugin>, RegistryError> {
        let key = (tenant.clone(), name.clone());
        self.work(move |shelf| shelf.configure(&key, settings)).await
    }

    async fn remove(
        &self,
        tenant: &TenantName,
        name: &PluginName,
        version: Option<&Version>,
    ) -> Result<bool, RegistryError> {
        let (key, version) = ((tenant.clone(), name.clone()), version.cloned());
        self.work(move |shelf| shelf.remove(&key, version.as_ref())).await
    }

    async fn wasm(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError> {
        let digest = *digest;
        self.work(move |shelf| shelf.wasm(&digest)).await
    }

    async fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, RegistryError> {
        let digest = *digest;
        let file = self.work(move |shelf| shelf.open_wasm(&digest)).await?;
        Ok(file.map(|file| Box::new(file) as Box<dyn Read + Send>))
    }
}
