//! The sandbox of the commands that need no host: a runtime, and a registry for as long as the
//! command takes.

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
use crate::runtime::{RuntimeConfig, WasmRuntime};

/// The compiled code that is kept, in bytes: some tens of large plugins.
const CACHE_BYTES: u64 = 1 << 30;

/// Where compiled code is kept: in the user's own cache (XDG base directories), if there is one.
fn cache_dir() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("jobwright").join("compiled"))
}

/// Inspects and runs plugins as a host does.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) runtime: WasmRuntime,
    registry: Arc<DiskRegistry>,
    /// The registry's; gone at the end.
    _folder: TempDir,
}

impl Sandbox {
    /// A sandbox in which an attempt may be given what an operator who configures nothing allows, but for
    /// its stack. It finds compiled code that an earlier one left.
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
        let runtime = WasmRuntime::new(config.clone(), registry.clone()).or_else(|error| {
            // It is only faster with one.
            tracing::warn!(error = format!("{error:#}"), "compiled code is not cached");
            WasmRuntime::new(RuntimeConfig { cache_dir: None, ..config }, registry.clone())
        })?;
        Ok(Self { runtime, registry, _folder: folder })
    }

    /// What `wasm` is and needs, if an upload of it would be accepted.
    pub(super) async fn check(&self, wasm: Bytes) -> Result<Inspection, Unprepared> {
        let inspection = self.runtime.inspect(&wasm)?;
        self.runtime.prepare(&TenantName::default(), Digest::of(&wasm), wasm).await?;
        Ok(inspection)
    }

    /// Takes `wasm` as an upload, so that jobs can run it, in the place of an earlier one.
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

/// The bytes of the plugin in `file`.
pub(super) async fn read(file: &Path) -> anyhow::Result<Bytes> {
    let wasm = tokio::fs::read(file)
        .await
        .with_context(|| Fault::NoInput.says(format!("cannot read the plugin {}", file.display())));
    Ok(wasm?.into())
}
