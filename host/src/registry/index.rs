//! The plugins in memory. Reads are served from memory; changes are written to disk first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use jobwright_core::clock::Timestamp;
use jobwright_core::plugin::{Digest, Plugin, PluginName, PluginSettings, PluginVersion, Version};
use jobwright_core::registry::{Published, RegistryError, Upload};
use jobwright_core::tenant::{Budget, Full, TenantName};

use super::files::{Files, Key};

/// The maximum number of versions of all plugins: some thousand plugins with a few versions each. Every
/// version is an entry in memory.
const MAX_VERSIONS: usize = 10_000;

/// The maximum number of versions of a tenant, so that no tenant uses up the room of all others.
const MAX_TENANT_VERSIONS: usize = MAX_VERSIONS / 2;

/// The plugins; see the module documentation.
#[derive(Debug)]
pub(super) struct PluginIndex {
    files: Files,
    /// The size limit of all plugins, in bytes.
    most_bytes: u64,
    plugins: RwLock<BTreeMap<Key, Arc<Plugin>>>,
    /// Serializes changes: held from reading the plugins until the change is written.
    changing: Mutex<()>,
}

impl PluginIndex {
    /// Reads the plugins, and removes the leftovers of a crash.
    pub(super) fn open(directory: &Path, most_bytes: u64) -> anyhow::Result<Self> {
        let files = Files::open(directory)?;
        let plugins = files.load()?;
        files.remove_orphans(&plugins)?;
        let plugins = plugins.into_iter().map(|(key, plugin)| (key, Arc::new(plugin))).collect();
        Ok(Self { files, most_bytes, plugins: RwLock::new(plugins), changing: Mutex::default() })
    }

    fn plugins(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Arc<Plugin>>> {
        self.plugins.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a changed plugin to disk, then to memory. Removes it if it has no versions.
    fn replace(&self, plugin: Plugin) -> Result<(), RegistryError> {
        self.files.write_index(&plugin)?;
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        let key = (plugin.tenant.clone(), plugin.name.clone());
        if plugin.versions.is_empty() {
            plugins.remove(&key);
        } else {
            plugins.insert(key, Arc::new(plugin));
        }
        Ok(())
    }

    /// The number of versions of a tenant's plugins, and whether one of them has these bytes.
    fn of_tenant(&self, tenant: &TenantName, digest: &Digest) -> (usize, bool) {
        let plugins = self.plugins();
        let own = plugins.values().filter(|plugin| &plugin.tenant == tenant);
        let versions = own.flat_map(|plugin| &plugin.versions);
        versions.fold((0, false), |(count, has), v| (count + 1, has || &v.digest == digest))
    }

    fn is_referenced(&self, digest: &Digest) -> bool {
        self.plugins().values().flat_map(|plugin| &plugin.versions).any(|v| &v.digest == digest)
    }

    /// The size of all plugins, or of those of a tenant, in bytes. Equal bytes are stored and counted once.
    fn held_bytes(&self, tenant: Option<&TenantName>) -> u64 {
        let plugins = self.plugins();
        let counted = plugins.values().filter(|plugin| tenant.is_none_or(|t| &plugin.tenant == t));
        let versions = counted.flat_map(|plugin| &plugin.versions);
        let once: BTreeMap<_, _> = versions.map(|v| (v.digest, v.size_bytes)).collect();
        once.values().sum()
    }

    /// See [`PluginRegistry`](jobwright_core::PluginRegistry).
    pub(super) fn publish(
        &self,
        upload: Upload,
        now: Timestamp,
    ) -> Result<Published, RegistryError> {
        let digest = Digest::of(&upload.wasm);
        let version = upload.version.unwrap_or_else(|| Version::from_digest(&digest));
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (upload.tenant, upload.name);
        let mut plugin = self.copy(&key).unwrap_or_else(|| Plugin {
            tenant: key.0.clone(),
            name: key.1,
            settings: PluginSettings::default(),
            versions: vec![],
        });
        if let Some(there) = plugin.versions.iter().find(|v| v.version == version) {
            let there = there.clone();
            return Ok(if there.digest == digest {
                // Repairs the stored bytes, if they were damaged.
                if !matches!(self.files.read_wasm(&digest), Ok(Some(_))) {
                    self.files.write_wasm(&digest, &upload.wasm)?;
                }
                Published::Unchanged(there)
            } else {
                Published::Conflict(there)
            });
        }
        let size_bytes = upload.wasm.len() as u64;
        self.check_room(&plugin.tenant, digest, size_bytes, upload.tenant_bytes)?;
        self.files.write_wasm(&digest, &upload.wasm)?;
        let created = PluginVersion {
            version,
            digest,
            size_bytes,
            created_at: now,
            inspection: upload.inspection,
        };
        plugin.versions.push(created.clone());
        self.replace(plugin)?;
        Ok(Published::Created(created))
    }

    /// Refuses bytes for which there is no room.
    fn check_room(
        &self,
        tenant: &TenantName,
        digest: Digest,
        size_bytes: u64,
        tenant_bytes: Option<u64>,
    ) -> Result<(), RegistryError> {
        let held: usize = self.plugins().values().map(|plugin| plugin.versions.len()).sum();
        if held >= MAX_VERSIONS {
            return Err(RegistryError::Full { held });
        }
        let (held, has) = self.of_tenant(tenant, &digest);
        if held >= MAX_TENANT_VERSIONS {
            return Err(RegistryError::TooManyVersions { tenant: tenant.clone(), held });
        }
        let held_bytes = self.held_bytes(Some(tenant));
        if let Some(most_bytes) = tenant_bytes
            && !has
            && held_bytes.saturating_add(size_bytes) > most_bytes
        {
            let tenant = tenant.clone();
            return Err(RegistryError::TenantFull { tenant, held_bytes, most_bytes });
        }
        if self.is_referenced(&digest) {
            return Ok(());
        }
        let (all_bytes, most_bytes) = (self.held_bytes(None), self.most_bytes);
        let budget = Budget { all: most_bytes, weight: Budget::KEPT };
        match budget.admits(all_bytes, held_bytes, size_bytes) {
            Ok(()) => Ok(()),
            Err(Full::All) => Err(RegistryError::TooLarge { held_bytes: all_bytes, most_bytes }),
            Err(Full::Tenant) => {
                let (tenant, most_bytes) = (tenant.clone(), budget.share(all_bytes, held_bytes));
                Err(RegistryError::Share { tenant, held_bytes, most_bytes })
            }
        }
    }

    /// See [`PluginRegistry`](jobwright_core::PluginRegistry).
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Plugin>> {
        self.plugins().get(key).cloned()
    }

    /// A plugin to be changed.
    fn copy(&self, key: &Key) -> Option<Plugin> {
        self.get(key).map(Arc::unwrap_or_clone)
    }

    /// See [`PluginRegistry`](jobwright_core::PluginRegistry).
    pub(super) fn list(
        &self,
        tenant: &TenantName,
        after: Option<&PluginName>,
        most: usize,
    ) -> Vec<Arc<Plugin>> {
        let key = |name: &PluginName| (tenant.clone(), name.clone());
        let plugins = self.plugins();
        let start = after.map_or(Bound::Unbounded, |name| Bound::Excluded(key(name)));
        let of_tenant = plugins.range((start, Bound::Unbounded)).filter(|(k, _)| &k.0 == tenant);
        of_tenant.take(most).map(|(_, plugin)| plugin.clone()).collect()
    }

    /// See [`PluginRegistry`](jobwright_core::PluginRegistry).
    pub(super) fn configure(
        &self,
        key: &Key,
        settings: PluginSettings,
    ) -> Result<Option<Plugin>, RegistryError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut plugin) = self.copy(key) else { return Ok(None) };
        plugin.settings = settings;
        self.replace(plugin.clone())?;
        Ok(Some(plugin))
    }

    /// See [`PluginRegistry`](jobwright_core::PluginRegistry).
    pub(super) fn remove(
        &self,
        key: &Key,
        version: Option<&Version>,
    ) -> Result<bool, RegistryError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut plugin) = self.copy(key) else { return Ok(false) };
        let goes = |v: &PluginVersion| version.is_none_or(|version| &v.version == version);
        let (gone, kept): (Vec<_>, Vec<_>) = plugin.versions.into_iter().partition(goes);
        plugin.versions = kept;
        if gone.is_empty() {
            return Ok(false);
        }
        if plugin
            .settings
            .default_version
            .as_ref()
            .is_some_and(|pinned| plugin.versions.iter().all(|v| &v.version != pinned))
        {
            plugin.settings.default_version = None;
        }
        self.replace(plugin)?;
        // Several versions may have had the same bytes.
        for digest in gone.into_iter().map(|version| version.digest).collect::<BTreeSet<_>>() {
            if !self.is_referenced(&digest) {
                self.files.remove_wasm(&digest)?;
            }
        }
        Ok(true)
    }

    /// See [`PluginRegistry`](jobwright_core::PluginRegistry).
    pub(super) fn wasm(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError> {
        self.files.read_wasm(digest)
    }

    /// See [`PluginRegistry::open`](jobwright_core::PluginRegistry::open).
    pub(super) fn open_wasm(&self, digest: &Digest) -> Result<Option<File>, RegistryError> {
        self.files.open_wasm(digest)
    }
}
