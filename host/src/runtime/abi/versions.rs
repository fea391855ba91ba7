//! The versions of interfaces that this host has.

use super::super::capability::{config, key_value};
use super::job::world;

/// Whether `name` is `interface` in a version that this host has: any release of its minor version,
/// because releases only add functions, or exactly that draft.
pub(in super::super) fn is_release_of(interface: &str, name: &str) -> bool {
    let named = name.strip_prefix(interface).and_then(|rest| rest.strip_prefix('@'));
    let is_of = |version: &&str| {
        let rest = named.and_then(|named| named.strip_prefix(*version));
        rest.is_some_and(|rest| match rest.strip_prefix('.') {
            Some(patch) => !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()),
            None => rest.is_empty(),
        })
    };
    versions_of(interface).iter().any(is_of)
}

/// The latest version of an interface that this host has: a minor version, or the first of its
/// drafts.
pub(in super::super) fn version_of(interface: &str) -> &'static str {
    versions_of(interface)[0]
}

/// All versions of an interface that this host has, the latest first.
pub(in super::super) fn versions_of(interface: &str) -> &'static [&'static str] {
    match interface.split('/').next() {
        Some(key_value::PACKAGE) => key_value::DRAFTS,
        Some(config::PACKAGE) => config::DRAFTS,
        Some(world::LOGGING) => &["0.1.0-draft"],
        Some(world::PACKAGE) => &world::VERSIONS,
        _ => &["0.2"],
    }
}
