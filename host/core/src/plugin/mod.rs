//! Plugins.
//!
//! | module | owns |
//! |---|---|
//! | [`name`], [`version`] | what identifies an uploaded version |
//! | [`mod@reference`] | how a job names its plugin |
//! | [`inspection`] | what the bytes of a plugin contain |
//! | [`settings`] | what an operator sets |
//! | [`installed`] | a plugin with all its versions |

pub mod inspection;
pub mod installed;
pub mod name;
pub mod reference;
pub mod settings;
pub mod version;

pub use self::inspection::{Abi, Inspection, MAX_NAMES, NoEntryPoint};
pub use self::installed::{NotFound, Plugin, PluginVersion, Resolved};
pub use self::name::PluginName;
pub use self::reference::{InvalidPluginRef, PluginRef, Selector};
pub use self::settings::PluginSettings;
pub use self::version::{InvalidVersion, MAX_VERSION_BYTES, Version};
pub use crate::digest::{Digest, InvalidDigest};

#[cfg(test)]
mod tests;
