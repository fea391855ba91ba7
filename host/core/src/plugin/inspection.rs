//! The inspection of a plugin's bytes: its ABI, imports, exports and entry points.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::grant::capability::Capability;
use crate::text::shorten;

/// The ABI of a plugin, recognised from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Abi {
    /// A core module that exports `_start` and imports WASI preview 1.
    #[serde(rename = "wasi-command-p1")]
    WasiCommandP1,
    /// A component that exports `wasi:cli/run` of WASI 0.2.
    #[serde(rename = "wasi-command-p2")]
    WasiCommandP2,
    /// A component that exports `wasi:http/incoming-handler` of WASI 0.2.
    #[serde(rename = "wasi-http-p2")]
    WasiHttpP2,
    /// A component that exports the world `jobwright:job`.
    #[serde(rename = "jobwright-job")]
    JobwrightJob,
    /// A core module that imports `extism:host/env`.
    #[serde(rename = "extism")]
    Extism,
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WasiCommandP1 => "wasi-command-p1",
            Self::WasiCommandP2 => "wasi-command-p2",
            Self::WasiHttpP2 => "wasi-http-p2",
            Self::JobwrightJob => "jobwright-job",
            Self::Extism => "extism",
        })
    }
}

/// The maximum number of imports, and of exports, in an [`Inspection`]: programs have some tens,
/// libraries thousands.
pub const MAX_NAMES: usize = 100;

/// The result of inspecting a plugin's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Its ABI.
    pub abi: Abi,
    /// Its imports, sorted: of a core module as `module.name`, of a component its interfaces. At
    /// most [`MAX_NAMES`].
    pub imports: Vec<String>,
    /// Its exports, sorted; at most [`MAX_NAMES`].
    #[serde(default)]
    pub exports: Vec<String>,
    /// Which of its exports a job can name as its entry point, sorted; empty if there is no choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoints: Vec<String>,
    /// The initial size of its memories and tables, in bytes.
    pub minimum_memory_bytes: u64,
}

/// A job that does not name an entry point of its plugin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NoEntryPoint(String);

impl Inspection {
    /// The capabilities that its imports use; calls of those that are not granted are denied.
    #[must_use]
    pub fn grants(&self) -> Vec<Capability> {
        Capability::asked_for(&self.imports)
    }

    /// The entry point of a job that names `asked`; `None` if the plugin has only one.
    ///
    /// # Errors
    /// [`NoEntryPoint`], which lists the entry points.
    pub fn entrypoint(&self, asked: Option<&str>) -> Result<Option<String>, NoEntryPoint> {
        let choice = self.entrypoints.join("`, `");
        match (asked, self.entrypoints.as_slice()) {
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(only.clone())),
            (None, _) => Err(NoEntryPoint(format!("is missing: name one of `{choice}`"))),
            (Some(asked), []) => Err(NoEntryPoint(format!(
                "`{}` cannot be chosen: a plugin of the kind {} has one entry point",
                shorten(asked),
                self.abi
            ))),
            (Some(asked), all) if all.iter().any(|name| name == asked) => {
                Ok(Some(asked.to_owned()))
            }
            (Some(asked), _) => {
                Err(NoEntryPoint(format!("`{}` is not one of `{choice}`", shorten(asked))))
            }
        }
    }
}
