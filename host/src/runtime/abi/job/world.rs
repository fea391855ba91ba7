//! The names and versions of the world and of its imports.

/// The interface that a typed job exports.
pub(in crate::runtime) const ENTRY_POINT: &str = "jobwright:job/run";

/// The package of the world.
pub(in super::super) const PACKAGE: &str = "jobwright:job";

/// Its versions, the latest first.
pub(in super::super) const VERSIONS: [&str; 2] = ["0.2", "0.1"];

/// The package of its log.
pub(in super::super) const LOGGING: &str = "wasi:logging";

/// The interfaces that the world imports, by package.
pub(in super::super) const INTERFACES: [(&str, &[&str]); 2] =
    [(PACKAGE, &["types", "progress", "cancellation", "checkpoint"]), (LOGGING, &["logging"])];
