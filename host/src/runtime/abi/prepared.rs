//! Code that is ready to be called.

use std::sync::Arc;

use jobwright_core::attempt::Attempt;
use jobwright_core::plugin::Abi;
use wasmtime::Engine;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::super::clocks::Clocks;
use super::super::ending::{Abort, GuestResult};
use super::super::machine::Machine;
use super::super::stdio::OutputBuffer;
use super::call::Call;
use super::command_p1::Command as CommandP1;
use super::command_p2::Command as CommandP2;
use super::extism::Plugin;
use super::extism::names::ENV;
use super::fit::Misfit;
use super::http::Handler;
use super::job::Function;
use super::offer::of_component;
use super::wasi;
use crate::registry::compiled::Compiled;

/// The code of a plugin, compiled and linked to the host's functions.
pub(in super::super) enum Prepared {
    CommandP1(CommandP1),
    CommandP2(CommandP2),
    Http(Handler),
    Job(Function),
    Extism(Plugin),
}

impl Prepared {
    /// Links `compiled`, which was compiled for `machine`.
    pub(in super::super) fn new(machine: &Machine, compiled: &Compiled) -> Result<Self, Misfit> {
        match compiled {
            Compiled::Module(module) => {
                if module.imports().any(|import| import.module() == ENV) {
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
                    None => Err(Misfit(
                        "it exports no entry point of any kind of plugin that this host runs"
                            .to_owned(),
                    )),
                }
            }
        }
    }

    pub(in super::super) fn engine(&self) -> &Engine {
        match self {
            Self::CommandP1(command) => command.linked.module().engine(),
            Self::CommandP2(command) => command.linked.engine(),
            Self::Http(handler) => handler.linked.engine(),
            Self::Job(function) => function.engine(),
            Self::Extism(plugin) => plugin.linked.module().engine(),
        }
    }

    /// The WASI context of the guest of `attempt`.
    pub(in super::super) fn sees(
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

    /// Runs a guest from its instantiation to its end.
    pub(in super::super) async fn run(&self, call: Call<'_>) -> Result<GuestResult, Abort> {
        // Boxed, so that the future of an attempt is not as large as that of the largest kind.
        match self {
            Self::CommandP1(command) => Box::pin(command.run(call)).await,
            Self::CommandP2(command) => Box::pin(command.run(call)).await,
            Self::Http(handler) => Box::pin(handler.run(call)).await,
            Self::Job(function) => Box::pin(function.run(call)).await,
            Self::Extism(plugin) => Box::pin(plugin.run(call)).await,
        }
    }
}
