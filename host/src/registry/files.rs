//! The files of the registry, which are written atomically.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use jobwright_core::plugin::{Digest, Plugin, PluginName};
use jobwright_core::registry::RegistryError;
use jobwright_core::tenant::TenantName;

use crate::data_dir::{sync_folder, write};

/// The key of a plugin: its tenant and name.
pub(super) type Key = (TenantName, PluginName);

/// The folders of a registry.
#[derive(Debug, Clone)]
pub(super) struct Files {
    wasm: PathBuf,
    /// The index files of the default tenant.
    index: PathBuf,
    /// The index files of the other tenants, a folder for each.
    tenants: PathBuf,
}

impl Files {
    /// Creates the folders if they are missing.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        let [wasm, index, tenants] = ["wasm", "index", "tenants"].map(|name| directory.join(name));
        for folder in [&wasm, &index, &tenants] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        }
        Ok(Self { wasm, index, tenants })
    }

    /// Reads all plugins.
    pub(super) fn load(&self) -> anyhow::Result<BTreeMap<Key, Plugin>> {
        let mut plugins = BTreeMap::new();
        for path in self.indexes()? {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let read = || -> anyhow::Result<Plugin> {
                let plugin: Plugin = serde_json::from_slice(&fs::read(&path)?)?;
                let named = self.index_path(&plugin) == path;
                named.then_some(plugin).ok_or_else(|| anyhow!("it is the index of another plugin"))
            };
            let plugin = read().with_context(|| {
                format!(
                    "the plugin index {} is unreadable: restore the file, or move it away to continue \
                     without that plugin, whose jobs then fail and whose bytes are removed",
                    path.display()
                )
            })?;
            plugins.insert((plugin.tenant.clone(), plugin.name.clone()), plugin);
        }
        Ok(plugins)
    }

    /// The files in the index folders of all tenants.
    fn indexes(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut indexes = list(&self.index)?;
        for folder in list(&self.tenants)? {
            indexes.extend(list(&folder)?);
        }
        Ok(indexes)
    }

    /// Removes the leftovers of a crash: temporary files, and bytes that no index refers to.
    pub(super) fn remove_orphans(&self, plugins: &BTreeMap<Key, Plugin>) -> anyhow::Result<()> {
        let versions = plugins.values().flat_map(|plugin| &plugin.versions);
        let named: BTreeSet<PathBuf> = versions.map(|v| self.wasm_path(&v.digest)).collect();
        let bytes = list(&self.wasm)?.into_iter().filter(|path| !named.contains(path));
        let is_index = |path: &PathBuf| path.extension().is_some_and(|e| e == "json");
        let indexes = self.indexes()?.into_iter().filter(|path| !is_index(path));
        for path in bytes.chain(indexes) {
            tracing::info!(path = %path.display(), "removing a leftover of an unfinished upload");
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Stores bytes under their digest.
    pub(super) fn write_wasm(&self, digest: &Digest, wasm: &[u8]) -> Result<(), RegistryError> {
        write(&self.wasm_path(digest), wasm).map_err(|e| failed("store the plugin", e))
    }

    /// Reads the bytes with this digest, and verifies them.
    pub(super) fn read_wasm(&self, digest: &Digest) -> Result<Option<Bytes>, RegistryError> {
        let bytes = match fs::read(self.wasm_path(digest)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read the plugin", error)),
        };
        let found = Digest::of(&bytes);
        if found == *digest {
            Ok(Some(bytes.into()))
        } else {
            Err(RegistryError::Corrupt { digest: *digest, found })
        }
    }

    /// Opens the file of the bytes with this digest, verifies it, and rewinds it.
    pub(super) fn open_wasm(&self, digest: &Digest) -> Result<Option<File>, RegistryError> {
        let mut file = match File::open(self.wasm_path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read the plugin", error)),
        };
        let verify = |file: &mut File| {
            let found = Digest::of_all(file)?;
            file.rewind()?;
            Ok(found)
        };
        let found = verify(&mut file).map_err(|error| failed("read the plugin", error))?;
        if found == *digest {
            Ok(Some(file))
        } else {
            Err(RegistryError::Corrupt { digest: *digest, found })
        }
    }

    /// Removes the bytes with this digest.
    pub(super) fn remove_wasm(&self, digest: &Digest) -> Result<(), RegistryError> {
        fs::remove_file(self.wasm_path(digest)).map_err(|e| failed("remove the plugin", e))
    }

    /// Writes the index of a plugin, or removes it if no version is left.
    pub(super) fn write_index(&self, plugin: &Plugin) -> Result<(), RegistryError> {
        let path = self.index_path(plugin);
        let written = if plugin.versions.is_empty() {
            fs::remove_file(&path).and_then(|()| sync_folder(&path))
        } else {
            serde_json::to_vec_pretty(plugin).map_err(io::Error::from).and_then(|json| {
                make_folder_of(&path)?;
                write(&path, &json)
            })
        };
        written.map_err(|e| failed("write the plugin's index", e))
    }

    fn index_path(&self, plugin: &Plugin) -> PathBuf {
        let folder = match plugin.tenant.is_default() {
            true => self.index.clone(),
            false => self.tenants.join(plugin.tenant.as_str()),
        };
        folder.join(format!("{}.json", plugin.name))
    }

    fn wasm_path(&self, digest: &Digest) -> PathBuf {
        self.wasm.join(format!("{}.wasm", digest.hex()))
    }
}

fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    entries.with_context(|| format!("cannot read the folder {}", folder.display()))
}

/// Creates the folder for a tenant's first plugin, durably.
fn make_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.exists() => {
            fs::create_dir(folder).and_then(|()| sync_folder(folder))
        }
        _ => Ok(()),
    }
}

fn failed(action: &str, source: io::Error) -> RegistryError {
    RegistryError::Io { action: action.to_owned(), source }
}
