//! WASI preview 1 for core modules, and preview 0, which is the same under the name `wasi_unstable` but for
//! the layout of some structs.
//!
//! Most of it is wasmtime's. Ours is what must be bounded, or follow from the attempt alone: [`random`] bytes
//! and [`mod@write`] of any length, in pieces, and lists of [`vectors`], also of [`mod@read`]; [`poll`] on the attempt's own clocks; [`files`], of which there are
//! none; exit codes.
//!
//! Invariant: no call traps because it is large. A pointer beyond the guest's memory traps, as the
//! specification demands.

mod files;
mod poll;
mod random;
mod read;
mod sockets;
mod vectors;
mod write;

use wasmtime::{Caller, Extern, Linker, Memory, bail};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::wasi_snapshot_preview1 as preview1;
use wasmtime_wasi::{I32Exit, p0, p1};
use wiggle::GuestMemory;

pub(super) use self::files::is_root;
use super::super::instance::Guest;

/// The module of preview 1.
const PREVIEW1: &str = "wasi_snapshot_preview1";

/// The module of preview 0.
const PREVIEW0: &str = "wasi_unstable";

/// Error numbers of both.
mod errno {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const BADF: i32 = 8;
    pub(super) const FAULT: i32 = 21;
    pub(super) const INVAL: i32 = 28;
    pub(super) const NAMETOOLONG: i32 = 37;
    pub(super) const NOENT: i32 = 44;
    pub(super) const NOTSOCK: i32 = 57;
    pub(super) const ROFS: i32 = 69;
    pub(super) const SPIPE: i32 = 70;
}

/// What a host function answers: an error number, or a trap.
type Errno = wasmtime::Result<i32>;

/// Offers both.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, Guest::wasi)?;
    p0::add_to_linker_async(linker, Guest::wasi)?;
    linker.allow_shadowing(true);
    for module in [PREVIEW1, PREVIEW0] {
        // Theirs takes codes from 126 on for a broken guest; `exit(-1)` is 255, and means a failure.
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

/// What may be done with an open descriptor.
#[derive(Debug, Clone, Copy)]
struct Rights(u64);

impl Rights {
    fn reads(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    fn writes(self) -> bool {
        self.0 & 1 << 6 != 0
    }
}

/// What may be done with `descriptor`; none if it is not open.
fn rights(wasi: &mut WasiP1Ctx, descriptor: i32) -> wasmtime::Result<Option<Rights>> {
    // As a guest asks: descriptors are known to wasmtime alone.
    let mut stat = [0; 24];
    let mut memory = GuestMemory::Unshared(&mut stat);
    let asked = preview1::fd_fdstat_get(wasi, &mut memory, descriptor, 0);
    match wiggle::run_in_dummy_executor(asked)?? {
        errno::SUCCESS => Ok(Some(Rights(read(&stat, 8).map(u64::from_le_bytes)?))),
        _ => Ok(None),
    }
}

/// The guest's memory.
fn memory(guest: &mut Caller<'_, Guest>) -> wasmtime::Result<Memory> {
    match guest.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => bail!("the guest calls WASI and exports no memory named `memory`"),
    }
}

/// `length` bytes at `at`.
fn slice(memory: &mut [u8], at: u32, length: u64) -> wasmtime::Result<&mut [u8]> {
    let size = memory.len();
    let end = usize::try_from(u64::from(at).saturating_add(length)).unwrap_or(usize::MAX);
    match memory.get_mut(at as usize..end) {
        Some(bytes) => Ok(bytes),
        None => bail!("pointer out of bounds: {length} bytes at {at}, in a memory of {size} bytes"),
    }
}

/// The `N` bytes at `at`.
fn read<const N: usize>(memory: &[u8], at: usize) -> wasmtime::Result<[u8; N]> {
    match memory.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => Ok(*bytes),
        None => bail!("pointer out of bounds: {N} bytes at {at}"),
    }
}
