//! The functions of `extism:host/env`.
//!
//! Invariant: blocks and variables, which the host stores for the guest, are charged to the
//! attempt's memory limit first; an allocation beyond it returns 0, which PDKs treat as a failure.
//! A guest that passes a block to a function gives it away, as to Extism's own hosts; the output
//! and the error are read when the guest has ended, also in blocks that it freed. Other handles are
//! treated as by Extism's own hosts.

use wasmtime::{Caller, Linker, bail};

use super::super::super::capability::channel::Level;
use super::super::super::guest::Guest;
use super::arena::BLOCK_BYTES;
use super::names::ENV;
use super::requests;

/// The maximum size of the names and values of all variables of an attempt, in bytes: the limit of
/// Extism's own hosts, which count 48 bytes more for each variable.
const MAX_VARIABLES_BYTES: u64 = 1 << 20;

/// The longest freed block that is kept at the next allocation, in bytes: programs that read a
/// block after they freed it read short ones.
const FREED_BYTES: u64 = 64 << 10;

impl Guest {
    /// Adds a block with these bytes; returns 0 if the memory limit leaves no room for it.
    pub(super) fn keep(&mut self, bytes: Vec<u8>) -> u64 {
        self.make_room();
        let wanted = (bytes.len() as u64).saturating_add(BLOCK_BYTES);
        if bytes.is_empty() || !self.budget_mut().hold(wanted) {
            return 0;
        }
        self.extism().arena.insert(bytes)
    }

    /// Drops the block that was freed last, if it is long, before another one is allocated.
    fn make_room(&mut self) {
        let kernel = self.extism();
        if kernel.freed.length(kernel.latest) > FREED_BYTES {
            kernel.latest = 0;
            let forgotten = kernel.forget();
            self.budget_mut().give_back(forgotten);
        }
    }

    fn allocate(&mut self, length: u64) -> u64 {
        self.make_room();
        // Before anything is allocated: a guest may pass any length.
        let wanted = length.saturating_add(BLOCK_BYTES);
        match usize::try_from(length) {
            Ok(length) if length > 0 && self.budget_mut().hold(wanted) => {
                self.extism().arena.insert(vec![0; length])
            }
            _ => 0,
        }
    }

    /// Frees a block, if the handle names one.
    fn free(&mut self, handle: u64) {
        let kernel = self.extism();
        if let Some(bytes) = kernel.arena.remove(handle) {
            kernel.latest = handle;
            kernel.freed.put(handle, bytes);
            let forgotten = kernel.forget();
            self.budget_mut().give_back(forgotten);
        }
    }

    /// A block that the call takes from the guest; `None` if the handle names no block.
    fn given(&mut self, handle: u64) -> Option<Vec<u8>> {
        // The payload's block was not charged.
        let kernel = self.extism();
        let payload = kernel.input;
        let bytes = kernel.arena.remove(handle)?;
        let length = bytes.len() as u64;
        if kernel.left.is_in(handle, length) {
            kernel.freed.put(handle, bytes.clone());
            let forgotten = kernel.forget();
            self.budget_mut().give_back(forgotten);
        } else if handle != payload {
            self.budget_mut().give_back(length + BLOCK_BYTES);
        }
        Some(bytes)
    }

    /// Like [`Self::given`]; empty if the handle names no block.
    pub(super) fn taken(&mut self, handle: u64) -> Vec<u8> {
        self.given(handle).unwrap_or_default()
    }

    /// Like [`Self::taken`]; a trap unless the handle names a block or is 0, which is empty.
    pub(super) fn taken_block(&mut self, handle: u64) -> wasmtime::Result<Vec<u8>> {
        match self.given(handle) {
            None if handle != 0 => {
                bail!("the guest passed a handle to `{ENV}` that names no block")
            }
            bytes => Ok(bytes.unwrap_or_default()),
        }
    }

    /// Like [`Self::taken_block`], as text.
    fn taken_text(&mut self, handle: u64) -> wasmtime::Result<String> {
        match String::from_utf8(self.taken_block(handle)?) {
            Ok(text) => Ok(text),
            Err(_) => bail!("the guest passed text to `{ENV}` that is not UTF-8"),
        }
    }

    /// Sets a variable, or removes it if there is no value.
    fn set_variable(&mut self, name: String, value: Option<Vec<u8>>) -> wasmtime::Result<()> {
        if let Some(old) = self.extism().variables.remove(&name) {
            let bytes = (name.len() + old.len()) as u64;
            self.extism().variables_bytes -= bytes;
            self.budget_mut().give_back(bytes + BLOCK_BYTES);
        }
        let Some(value) = value else { return Ok(()) };
        let bytes = (name.len() + value.len()) as u64;
        if self.extism().variables_bytes + bytes > MAX_VARIABLES_BYTES {
            bail!("the guest's variables exceed {MAX_VARIABLES_BYTES} bytes");
        }
        if !self.budget_mut().hold(bytes + BLOCK_BYTES) {
            bail!("the memory limit leaves no room for the guest's variables");
        }
        self.extism().variables_bytes += bytes;
        self.extism().variables.insert(name, value);
        Ok(())
    }
}

type Plugin<'a> = Caller<'a, Guest>;

/// Adds all functions of the interface to `linker`.
pub(in super::super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    link_memory(linker)?;
    link_input(linker)?;
    link_ending(linker)?;
    link_state(linker)?;
    requests::link(linker)?;
    link_log(linker)
}

fn link_memory(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "alloc", |mut p: Plugin<'_>, n: u64| p.data_mut().allocate(n))?;
    linker.func_wrap(ENV, "free", |mut p: Plugin<'_>, at: u64| p.data_mut().free(at))?;
    for name in ["length", "length_unsafe"] {
        linker.func_wrap(ENV, name, |mut p: Plugin<'_>, at: u64| {
            p.data_mut().extism().arena.length(at)
        })?;
    }
    linker.func_wrap(ENV, "load_u8", |mut p: Plugin<'_>, at: u64| {
        let [byte] = p.data_mut().extism().arena.load(at);
        i32::from(byte)
    })?;
    linker.func_wrap(ENV, "load_u64", |mut p: Plugin<'_>, at: u64| {
        u64::from_le_bytes(p.data_mut().extism().arena.load(at))
    })?;
    linker.func_wrap(ENV, "store_u8", |mut p: Plugin<'_>, at: u64, byte: u32| {
        p.data_mut().extism().arena.store(at, [byte.to_le_bytes()[0]]);
    })?;
    linker.func_wrap(ENV, "store_u64", |mut p: Plugin<'_>, at: u64, word: u64| {
        p.data_mut().extism().arena.store(at, word.to_le_bytes());
    })?;
    linker
        .func_wrap(ENV, "memory_bytes", |mut p: Plugin<'_>| p.data_mut().extism().arena.bytes())?;
    Ok(())
}

fn link_input(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "input_offset", |mut p: Plugin<'_>| p.data_mut().extism().input)?;
    linker.func_wrap(ENV, "input_length", |mut p: Plugin<'_>| {
        let kernel = p.data_mut().extism();
        kernel.arena.length(kernel.input)
    })?;
    linker.func_wrap(ENV, "input_load_u8", |mut p: Plugin<'_>, at: u64| {
        let kernel = p.data_mut().extism();
        let [byte] = kernel.arena.load(kernel.input.saturating_add(at));
        i32::from(byte)
    })?;
    linker.func_wrap(ENV, "input_load_u64", |mut p: Plugin<'_>, at: u64| {
        let kernel = p.data_mut().extism();
        u64::from_le_bytes(kernel.arena.load(kernel.input.saturating_add(at)))
    })?;
    Ok(())
}

fn link_ending(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "output_set", |mut p: Plugin<'_>, at: u64, length: u64| {
        p.data_mut().extism().set_output(at, length);
    })?;
    linker.func_wrap(ENV, "error_set", |mut p: Plugin<'_>, at: u64| {
        p.data_mut().extism().set_error(at);
    })?;
    linker.func_wrap(ENV, "error_get", |mut p: Plugin<'_>| p.data_mut().extism().left.error)?;
    Ok(())
}

fn link_state(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "config_get", |mut p: Plugin<'_>, name: u64| {
        let name = p.data_mut().taken_text(name)?;
        let found = p.data_mut().extism().config.get(&name).cloned().unwrap_or_default();
        wasmtime::Result::Ok(p.data_mut().keep(found.into_bytes()))
    })?;
    linker.func_wrap(ENV, "var_get", |mut p: Plugin<'_>, name: u64| {
        let name = p.data_mut().taken_text(name)?;
        let found = p.data_mut().extism().variables.get(&name).cloned().unwrap_or_default();
        wasmtime::Result::Ok(p.data_mut().keep(found))
    })?;
    linker.func_wrap(ENV, "var_set", |mut p: Plugin<'_>, name: u64, value: u64| {
        let (guest, is_same) = (p.data_mut(), name == value);
        let name = guest.taken_text(name)?;
        let value = match value {
            0 => None,
            _ if is_same => Some(name.clone().into_bytes()),
            value => Some(guest.taken_block(value)?),
        };
        guest.set_variable(name, value)
    })?;
    Ok(())
}

fn link_log(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for (name, level) in [
        ("log_trace", Level::Trace),
        ("log_debug", Level::Debug),
        ("log_info", Level::Info),
        ("log_warn", Level::Warn),
        ("log_error", Level::Error),
    ] {
        linker.func_wrap(ENV, name, move |mut p: Plugin<'_>, message: u64| {
            let guest = p.data_mut();
            let message = guest.taken(message);
            guest.channel().log(level, "", &message);
        })?;
    }
    // The lowest level: every line is logged, and the log is bounded.
    linker.func_wrap(ENV, "get_log_level", |_: Plugin<'_>| 0_i32)?;
    Ok(())
}
