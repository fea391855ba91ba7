//! WASI 0.2 commands: components with the same payload, output, log and exit code as commands of
//! preview 1.

use wasmtime::component::{Component, Linker};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

use super::super::ending::{self, Abort, GuestResult};
use super::super::guest::Guest;
use super::call::Call;
use super::fit::{EntryPoint, Misfit};

/// The interface that a command exports, in any release of 0.2.
pub(in super::super) const ENTRY_POINT: &str = "wasi:cli/run";

/// The exit code of a command whose `run` returns an error.
const FAILURE: i32 = 1;

/// A command, linked.
pub(in super::super) struct Command {
    pub(super) linked: CommandPre<Guest>,
}

impl Command {
    pub(super) fn new(linker: &Linker<Guest>, component: &Component) -> Result<Self, Misfit> {
        let linked = linker.instantiate_pre(component)?;
        EntryPoint::latest(ENTRY_POINT, "run").check::<(), (Result<(), ()>,)>(&linked)?;
        Ok(Self { linked: CommandPre::new(linked)? })
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<GuestResult, Abort> {
        let Call { attempt, store, meter, .. } = call;
        let command = meter.instantiate(self.linked.instantiate_async(&mut *store)).await??;
        match meter.drive(command.wasi_cli_run().call_run(&mut *store)).await?? {
            Ok(()) => ending::returned(attempt),
            Err(()) => Err(Abort::Failed(I32Exit(FAILURE).into())),
        }
    }
}
