//! Access to the guest's memory. A pointer beyond it traps, as the specification requires.

use wasmtime::{Caller, Extern, Memory, bail};

use super::super::super::guest::Guest;

/// The guest's memory.
pub(super) fn memory(guest: &mut Caller<'_, Guest>) -> wasmtime::Result<Memory> {
    match guest.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => bail!("the guest calls WASI and exports no memory named `memory`"),
    }
}

/// `length` bytes at `at`.
pub(super) fn slice(memory: &mut [u8], at: u32, length: u64) -> wasmtime::Result<&mut [u8]> {
    let size = memory.len();
    let end = usize::try_from(u64::from(at).saturating_add(length)).unwrap_or(usize::MAX);
    match memory.get_mut(at as usize..end) {
        Some(bytes) => Ok(bytes),
        None => bail!("pointer out of bounds: {length} bytes at {at}, in a memory of {size} bytes"),
    }
}

/// The `N` bytes at `at`.
pub(super) fn read<const N: usize>(memory: &[u8], at: usize) -> wasmtime::Result<[u8; N]> {
    match memory.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => Ok(*bytes),
        None => bail!("pointer out of bounds: {N} bytes at {at}"),
    }
}
