//! WASI preview 1 for core modules, and preview 0, which is the same under the name `wasi_unstable` but for
//! the layout of some structs.
//!
//! Most functions are wasmtime's. The host's own ones are those that must be bounded, or depend on
//! the attempt alone: [`random`] bytes and [`mod@write`] of any length, in pieces, and lists of
//! [`vectors`], also of [`mod@read`]; [`poll`] on the attempt's own clocks; [`files`] and
//! [`sockets`], of which there are none; exit codes.
//!
//! Invariant: no call traps because it is large. A pointer beyond the guest's memory traps, as the
//! specification requires.

mod errno;
mod files;
mod memory;
mod poll;
mod random;
mod read;
mod rights;
mod sockets;
mod vectors;
mod version;
mod write;

use wasmtime::Linker;
use wasmtime_wasi::{I32Exit, p0, p1};

pub(super) use self::files::is_root;
use self::version::{PREVIEW0, PREVIEW1};
use super::super::guest::Guest;

/// Links both previews.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, Guest::wasi)?;
    p0::add_to_linker_async(linker, Guest::wasi)?;
    linker.allow_shadowing(true);
    for module in [PREVIEW1, PREVIEW0] {
        // wasmtime's function traps for codes from 126 on, but `exit(-1)` is 255 and reports a
        // failure.
        let exit = |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) };
        linker.func_wrap(module, "proc_exit", exit)?;
        random::link(linker, module)?;
        read::link(linker, module)?;
        write::link(linker, module)?;
        files::link(linker, module)?;
        sockets::link(linker, module)?;
    }
    poll::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
