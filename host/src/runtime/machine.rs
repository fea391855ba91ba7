//! An engine, and the host functions that are linked for it.

use wasmtime::{Engine, Linker, component};

use super::guest::Guest;
use super::profile::Target;

/// An engine with the host functions that its guests can import.
pub(super) struct Machine {
    pub(super) engine: Engine,
    pub(super) target: Target,
    pub(super) modules: Linker<Guest>,
    pub(super) components: component::Linker<Guest>,
}
