//! An installed plugin: its settings and its versions.

use serde::{Deserialize, Serialize};

use super::inspection::Inspection;
use super::name::PluginName;
use super::reference::Selector;
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl Plugin {
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
