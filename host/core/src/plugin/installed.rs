//! An installed plugin: its settings and its versions.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::inspection::Inspection;
use super::name::PluginName;
use super::reference::{PluginRef, Selector};
use super::settings::PluginSettings;
use super::version::Version;
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::tenant::TenantName;

/// One uploaded version; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// Its name within the plugin.
    pub version: Version,
    /// Its bytes' digest.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// The result of its inspection.
    #[serde(flatten)]
    pub inspection: Inspection,
}

/// A plugin: its settings and its versions, in the order of upload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// Its tenant.
    #[serde(default, skip_serializing_if = "TenantName::is_default")]
    pub tenant: TenantName,
    /// Its name.
    pub name: PluginName,
    /// Its settings.
    pub settings: PluginSettings,
    /// Every version, oldest upload first.
    pub versions: Vec<PluginVersion>,
}

/// The version to which a reference resolves, and the plugin's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolved<'a> {
    /// The version.
    pub version: &'a PluginVersion,
    /// The plugin's settings.
    pub settings: &'a PluginSettings,
}

/// Why a reference does not resolve.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotFound {
    /// No such plugin.
    #[error("plugin `{0}` is not installed")]
    Plugin(PluginName),
    /// The plugin has no such version.
    #[error("plugin `{reference}` is not installed; there is {installed}")]
    Version {
        /// The reference.
        reference: PluginRef,
        /// The versions that there are.
        installed: String,
    },
}

impl Plugin {
    /// The version that a job means by `reference`, with the settings that apply to it.
    ///
    /// # Errors
    /// [`NotFound::Version`] with the latest versions, if there is none.
    pub fn resolve(&self, reference: &PluginRef) -> Result<Resolved<'_>, NotFound> {
        match self.select(&reference.selector) {
            Some(version) => Ok(Resolved { version, settings: &self.settings }),
            None => {
                let (reference, installed) = (reference.clone(), self.latest());
                Err(NotFound::Version { reference, installed })
            }
        }
    }

    /// The latest versions, for an error message.
    fn latest(&self) -> String {
        const SHOWN: usize = 5;
        let latest = self.versions.iter().rev();
        let mut names: Vec<_> = latest.take(SHOWN).map(|v| v.version.to_string()).collect();
        if self.versions.len() > SHOWN {
            names.push(format!("{} more", self.versions.len() - SHOWN));
        }
        names.join(", ")
    }

    /// The version that `selector` means.
    #[must_use]
    pub fn select(&self, selector: &Selector) -> Option<&PluginVersion> {
        let exact = |wanted: &Version| self.versions.iter().find(|v| &v.version == wanted);
        match selector {
            Selector::Default => match &self.settings.default_version {
                Some(pinned) => exact(pinned),
                None => self.versions.last(),
            },
            Selector::Exact(version) => exact(version),
            Selector::Digest(digest) => self.versions.iter().find(|v| &v.digest == digest),
            Selector::Highest { major, minor } => self
                .versions
                .iter()
                .filter(|v| match &v.version {
                    Version::Semantic(version) => {
                        version.pre.is_empty()
                            && version.major == *major
                            && minor.is_none_or(|minor| version.minor == minor)
                    }
                    Version::Digest(_) => false,
                })
                .max_by(|a, b| a.version.cmp(&b.version)),
        }
    }
}
