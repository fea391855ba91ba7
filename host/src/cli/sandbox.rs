//! The sandbox of commands without a host: a runtime, and a temporary plugin registry.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use jobwright_core::limits::CompileLimits;
use jobwright_core::plugin::{Digest, Inspection, PluginName, PluginVersion};
use jobwright_core::registry::{PluginRegistry as _, Published, Upload};
use jobwright_core::runtime::{Runtime as _, Unprepared};
use jobwright_core::tenant::TenantName;
use tempfile::TempDir;

use super::exit::Fault;
use super::options::StackOptions;
use crate::clock;
use crate::config::Config;
use crate::privacy;
use crate::registry::DiskRegistry;
use crate::runtime::{InProcessRuntime, RuntimeConfig};

/// The size limit of cached compiled code, in bytes: room for some tens of large plugins.
const CACHE_BYTES: u64 = 1 << 30;

/// The folder for compiled code, in the user's cache directory (XDG Base Directory Specification), if
/// there is one.
fn cache_dir() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("jobwright").join("compiled"))
}

/// Inspects and runs plugins as a host does.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) runtime: InProcessRuntime,
    registry: Arc<DiskRegistry>,
    /// The folder of the registry; removed on drop.
    _folder: TempDir,
}

impl Sandbox {
    /// Opens a sandbox with the default configuration of a host, except for the stack size. It uses
    /// compiled code that earlier commands cached.
    pub(super) fn open(stack: StackOptions) -> anyhow::Result<Self> {
        let folder = privacy::temporary_folder().context("cannot create a temporary folder")?;
        let registry = Arc::new(DiskRegistry::open(folder.path(), u64::MAX)?);
        let compile_limits = Some(CompileLimits::default());
        let config = RuntimeConfig {
            slots: 1,
            compile_limits,
            cache_dir: cache_dir(),
            cache_bytes: CACHE_BYTES,
            cache_free_bytes: Config::default().disk.free_bytes,
            stack_bytes: stack.bytes(),
            ..RuntimeConfig::default()
        };
        let runtime = InProcessRuntime::new(config.clone(), registry.clone()).or_else(|error| {
            // The cache is optional.
            tracing::warn!(error = format!("{error:#}"), "compiled code is not cached");
            InProcessRuntime::new(RuntimeConfig { cache_dir: None, ..config }, registry.clone())
        })?;
        Ok(Self { runtime, registry, _folder: folder })
    }

    /// Inspects and compiles `wasm`, as a host does for an upload.
    pub(super) async fn check(&self, wasm: Bytes) -> Result<Inspection, Unprepared> {
        let inspection = self.runtime.inspect(&wasm)?;
        self.runtime.prepare(&TenantName::default(), Digest::of(&wasm), wasm).await?;
        Ok(inspection)
    }

    /// Adds `wasm` to the registry under `name`, and removes earlier versions.
    pub(super) async fn publish(
        &self,
        name: PluginName,
        wasm: Bytes,
    ) -> anyhow::Result<PluginVersion> {
        let inspection = self.runtime.inspect(&wasm)?;
        let tenant = TenantName::default();
        self.registry.remove(&tenant, &name, None).await?;
        let (version, tenant_bytes) = (None, None);
        let upload = Upload { tenant, tenant_bytes, name, version, wasm, inspection };
        match self.registry.publish(upload, clock::wall()).await? {
            Published::Created(version) | Published::Unchanged(version) => Ok(version),
            Published::Conflict(version) => {
                Err(anyhow!("version {} already exists", version.version))
            }
        }
    }
}

/// Reads the plugin in `file`.
pub(super) async fn read(file: &Path) -> anyhow::Result<Bytes> {
    let wasm = tokio::fs::read(file).await.with_context(|| {
        Fault::NoInput.failure(format!("cannot read the plugin {}", file.display()))
    });
    Ok(wasm?.into())
}
