//! How plugins are called: one file for each kind.
//!
//! | file | plugin |
//! |---|---|
//! | [`command_p1`] | core module that exports `_start` |
//! | [`command_p2`] | component that exports `wasi:cli/run` |
//! | [`http`] | component that exports `wasi:http/incoming-handler` |
//! | [`mod@job`] | component that exports `jobwright:job/run` |
//! | [`extism`] | core module that imports `extism:host/env` |
//! | [`wasi`], [`preview1`] | what all of them see of WASI |
//!
//! Each offers its host functions to guests (`link`), makes compiled code ready (`new`), and takes a
//! guest from its instantiation to its end (`run`). A new kind is a file here, a variant of
//! [`Prepared`] and of [`Abi`], and a line where its bytes are recognised: [`of_component`],
//! or `Outline::abi` of `inspect` and [`Prepared::new`] for core modules. Limits, receipt and
//! the meaning of endings are not its business: everything that a guest does goes through
//! [`Call::meter`] in [`Call::store`], which are armed.

pub(super) mod command_p1;
pub(super) mod command_p2;
pub(super) mod extism;
pub(super) mod http;
pub(super) mod job;
mod preview1;
mod wasi;

use std::sync::Arc;

use jobwright_core::attempt::Attempt;
use jobwright_core::plugin::Abi;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{self, ComponentNamedList, InstancePre, Lift, Lower};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Linker, Store};
use wasmtime_wasi::p1::WasiP1Ctx;

use self::command_p1::Command as CommandP1;
use self::command_p2::Command as CommandP2;
use self::extism::Plugin;
use self::http::Handler;
use self::job::Function;
use super::capability::{self, config, key_value};
use super::clocks::Clocks;
use super::ending::{Cut, Said};
use super::instance::Guest;
use super::machine::Machine;
use super::meter::Meter;
use super::stdio::OutputBuffer;
use crate::registry::compiled::Compiled;

/// What an attempt is made of: compiled, linked to the host's functions, ready to be called.
pub(super) enum Prepared {
    CommandP1(CommandP1),
    CommandP2(CommandP2),
    Http(Handler),
    Job(Function),
    Extism(Plugin),
}

/// One attempt, as its kind of plugin sees it.
pub(super) struct Call<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) output: &'a Arc<OutputBuffer>,
    pub(super) store: &'a mut Store<Guest>,
    pub(super) meter: &'a mut Meter,
}

/// Why code can never be called here.
#[derive(Debug)]
pub(super) struct Misfit(pub(super) String);

impl From<wasmtime::Error> for Misfit {
    fn from(error: wasmtime::Error) -> Self {
        Self(format!("it does not fit this host: {error:#}"))
    }
}

impl Prepared {
    /// Links `compiled`, which is of `machine`.
    pub(super) fn new(machine: &Machine, compiled: &Compiled) -> Result<Self, Misfit> {
        match compiled {
            Compiled::Module(module) => {
                if module.imports().any(|import| import.module() == extism::ENV) {
                    Plugin::new(&machine.modules, module).map(Self::Extism)
                } else {
                    CommandP1::new(&machine.modules, module).map(Self::CommandP1)
                }
            }
            Compiled::Component(component) => {
                let ty = component.component_type();
                let exports = ty.exports(&machine.engine).map(|(name, _)| name);
                let linker = &machine.components;
                match of_component(exports) {
                    Some(Abi::JobwrightJob) => Function::new(linker, component).map(Self::Job),
                    Some(Abi::WasiHttpP2) => Handler::new(linker, component).map(Self::Http),
                    Some(_) => CommandP2::new(linker, component).map(Self::CommandP2),
                    None => Err(Misfit("it exports nothing that this host calls".to_owned())),
                }
            }
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        match self {
            Self::CommandP1(command) => command.linked.module().engine(),
            Self::CommandP2(command) => command.linked.engine(),
            Self::Http(handler) => handler.linked.engine(),
            Self::Job(function) => function.engine(),
            Self::Extism(plugin) => plugin.linked.module().engine(),
        }
    }

    /// What the guest of `attempt` sees of WASI.
    pub(super) fn sees(
        &self,
        attempt: &Attempt,
        clocks: &Clocks,
        output: &Arc<OutputBuffer>,
    ) -> WasiP1Ctx {
        match self {
            Self::CommandP1(_) | Self::CommandP2(_) => wasi::of_command(attempt, clocks, output),
            Self::Http(_) | Self::Job(_) | Self::Extism(_) => wasi::of_service(attempt, clocks),
        }
    }

    /// Takes a guest from its instantiation to its end.
    pub(super) async fn run(&self, call: Call<'_>) -> Result<Said, Cut> {
        // Boxed, so that not every attempt moves as many bytes as the largest of them takes.
        match self {
            Self::CommandP1(command) => Box::pin(command.run(call)).await,
            Self::CommandP2(command) => Box::pin(command.run(call)).await,
            Self::Http(handler) => Box::pin(handler.run(call)).await,
            Self::Job(function) => Box::pin(function.run(call)).await,
            Self::Extism(plugin) => Box::pin(plugin.run(call)).await,
        }
    }
}

/// Refuses a component whose `function` of `interface` does not take and return this: the generated
/// bindings find that only when they call it.
fn check_type<Params, Return>(
    linked: &InstancePre<Guest>,
    interface: &str,
    function: &str,
) -> Result<(), Misfit>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift,
{
    check_version::<Params, Return>(linked, (interface, version_of(interface)), function)
}

/// The same for the `interface` of a version that need not be the latest.
fn check_version<Params, Return>(
    linked: &InstancePre<Guest>,
    (interface, version): (&str, &str),
    function: &str,
) -> Result<(), Misfit>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift,
{
    let component = linked.component();
    // Any release of a minor version is found under the name of any other.
    let name = format!("{interface}@{version}.0");
    let exported = component.get_export_index(None, name);
    match exported.and_then(|interface| component.get_export(Some(&interface), function)) {
        Some((ComponentItem::ComponentFunc(found), _)) => {
            let checked = found.typecheck::<Params, Return>(&linked.instance_type());
            checked
                .with_context(|| format!("its `{function}` of `{interface}` has another type"))?;
            Ok(())
        }
        _ => Err(Misfit(format!("its `{interface}` has no function `{function}`"))),
    }
}

/// Offers everything that a core module may import. Nothing else is.
pub(super) fn link_modules(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    preview1::link(linker)?;
    capability::imports::link(linker)?;
    extism::kernel::link(linker)
}

/// Offers everything that a component may import. Nothing else is.
pub(super) fn link_components(linker: &mut component::Linker<Guest>) -> wasmtime::Result<()> {
    wasi::link(linker)?;
    http::link(linker)?;
    capability::key_value::link(linker)?;
    capability::config::link(linker)?;
    job::link(linker)
}

/// The interfaces that a component may import, by package: what [`link_components`] offers.
pub(super) fn interfaces() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    let granted = [http::INTERFACES, key_value::INTERFACES, config::INTERFACES];
    wasi::INTERFACES.iter().copied().chain(granted).chain(job::INTERFACES)
}

/// How a component with these exports is called.
///
/// A typed job goes before all, and a handler before a command: what makes handlers of programs
/// leaves them a `run` that only panics.
pub(super) fn of_component<'a>(exports: impl Iterator<Item = &'a str>) -> Option<Abi> {
    let kinds = [
        (job::ENTRY_POINT, Abi::JobwrightJob),
        (http::ENTRY_POINT, Abi::WasiHttpP2),
        (command_p2::ENTRY_POINT, Abi::WasiCommandP2),
    ];
    let rank = |export: &str| kinds.iter().position(|(entry, _)| is_release_of(entry, export));
    exports.filter_map(rank).min().map(|rank| kinds[rank].1)
}

/// Whether `name` is `interface` in a version that this host has: any release of its minor version,
/// whose releases only ever add to each other; of a draft that one alone.
pub(super) fn is_release_of(interface: &str, name: &str) -> bool {
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

/// The latest version of an interface that this host has: a minor one, or the first of its drafts.
pub(super) fn version_of(interface: &str) -> &'static str {
    versions_of(interface)[0]
}

/// All of them.
pub(super) fn versions_of(interface: &str) -> &'static [&'static str] {
    match interface.split('/').next() {
        Some(key_value::PACKAGE) => key_value::DRAFTS,
        Some(config::PACKAGE) => config::DRAFTS,
        Some(job::LOGGING) => &["0.1.0-draft"],
        Some(job::PACKAGE) => &job::VERSIONS,
        _ => &["0.2"],
    }
}
