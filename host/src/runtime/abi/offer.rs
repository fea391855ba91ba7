//! The imports that guests can have, and how the kind of a component is recognised.

use jobwright_core::plugin::Abi;
use wasmtime::{Linker, component};

use super::super::capability::{self, config, key_value};
use super::super::guest::Guest;
use super::job::world;
use super::versions::is_release_of;
use super::{command_p2, extism, http, job, preview1, wasi};

/// Links every function that a core module can import.
pub(in super::super) fn link_modules(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    preview1::link(linker)?;
    capability::imports::link(linker)?;
    extism::kernel::link(linker)
}

/// Links every interface that a component can import.
pub(in super::super) fn link_components(
    linker: &mut component::Linker<Guest>,
) -> wasmtime::Result<()> {
    wasi::link(linker)?;
    http::link(linker)?;
    capability::key_value::link(linker)?;
    capability::config::link(linker)?;
    job::link(linker)
}

/// The interfaces that a component can import, by package: those that [`link_components`] adds.
pub(in super::super) fn interfaces() -> impl Iterator<Item = (&'static str, &'static [&'static str])>
{
    let granted = [http::INTERFACES, key_value::INTERFACES, config::INTERFACES];
    wasi::INTERFACES.iter().copied().chain(granted).chain(world::INTERFACES)
}

/// The kind of a component with these exports. A typed job takes precedence over all kinds, and a
/// handler over a command: tools that turn programs into handlers leave a `run` that only panics.
pub(in super::super) fn of_component<'a>(exports: impl Iterator<Item = &'a str>) -> Option<Abi> {
    let kinds = [
        (world::ENTRY_POINT, Abi::JobwrightJob),
        (http::ENTRY_POINT, Abi::WasiHttpP2),
        (command_p2::ENTRY_POINT, Abi::WasiCommandP2),
    ];
    let rank = |export: &str| kinds.iter().position(|(entry, _)| is_release_of(entry, export));
    exports.filter_map(rank).min().map(|rank| kinds[rank].1)
}
