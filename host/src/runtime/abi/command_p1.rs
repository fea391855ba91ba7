//! WASI commands, preview 1: payload on standard input, output on standard output, log on standard
//! error, and an exit code.

use wasmtime::{InstancePre, Linker, Module, ModuleExport};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1;

use super::super::ending::{Cut, Said};
use super::super::instance::Guest;
use super::{Call, Misfit};

/// The function that starts a command.
pub(in super::super) const ENTRY_POINT: &str = "_start";

/// Offers what a command may import.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, Guest::wasi)?;
    // Theirs takes codes from 126 on for a broken guest; `exit(-1)` is 255, and means a failure.
    linker.allow_shadowing(true);
    let exit = |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) };
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", exit)?;
    linker.allow_shadowing(false);
    Ok(())
}

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

    pub(super) async fn run(&self, call: Call<'_>) -> Result<Said, Cut> {
        let Call { store, meter, .. } = call;
        let instance = meter.instantiate(self.linked.instantiate_async(&mut *store)).await??;
        let start = instance
            .get_module_export(&mut *store, &self.entry_point)
            .and_then(wasmtime::Extern::into_func)
            .ok_or_else(|| wasmtime::format_err!("the entry point is no function"))?
            .typed::<(), ()>(&*store)?;
        let ended = meter.drive(start.call_async(&mut *store, ())).await?;
        let line = store.data_mut().line_mut();
        let Err(error) = ended else { return Ok(line.done()) };
        match error.downcast_ref() {
            Some(I32Exit(0)) => Ok(line.done()),
            Some(I32Exit(_)) => line.failure().ok_or(Cut::Failed(error)),
            None => Err(Cut::Failed(error)),
        }
    }
}
