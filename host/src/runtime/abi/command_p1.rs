//! WASI commands, preview 1: payload on standard input, output on standard output, log on standard
//! error, and an exit code.

use wasmtime::{InstancePre, Linker, Module, ModuleExport};

use super::super::ending::{self, Abort, GuestResult};
use super::super::guest::Guest;
use super::call::Call;
use super::fit::Misfit;

/// The function that starts a command.
pub(in super::super) const ENTRY_POINT: &str = "_start";

/// A command, linked.
pub(in super::super) struct Command {
    pub(super) linked: InstancePre<Guest>,
    entry_point: ModuleExport,
}

impl Command {
    pub(super) fn new(linker: &Linker<Guest>, module: &Module) -> Result<Self, Misfit> {
        let linked = linker.instantiate_pre(module)?;
        let missing = || Misfit(format!("it exports no `{ENTRY_POINT}`"));
        let entry_point = module.get_export_index(ENTRY_POINT).ok_or_else(missing)?;
        Ok(Self { linked, entry_point })
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<GuestResult, Abort> {
        let Call { attempt, store, meter, .. } = call;
        let instance = meter.instantiate(self.linked.instantiate_async(&mut *store)).await??;
        let start = instance
            .get_module_export(&mut *store, &self.entry_point)
            .and_then(wasmtime::Extern::into_func)
            .ok_or_else(|| wasmtime::format_err!("the entry point is no function"))?
            .typed::<(), ()>(&*store)?;
        meter.drive(start.call_async(&mut *store, ())).await??;
        ending::returned(attempt)
    }
}
