//! How plugins are called: one file for each kind.
//!
//! Each offers its host functions to guests, prepares what an attempt sees, and names the function
//! that starts it.

pub(super) mod command_p1;

use wasmtime::Linker;

use super::instance::Guest;

/// Offers everything that a guest may import. Nothing else is.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    command_p1::link(linker)
}
