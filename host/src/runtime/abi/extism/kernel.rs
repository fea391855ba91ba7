//! The functions of `extism:host/env`.
//!
//! Invariant: what a guest makes the host keep (blocks and variables) is granted by the attempt's
//! memory limit first; an allocation beyond answers 0, which PDKs take for a failure. Whoever passes a
//! block to a function gives it away, as to Extism's own hosts; only the error is looked at when the
//! guest has ended.

use std::collections::BTreeMap;

use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::MAX_MESSAGE_BYTES;
use wasmtime::{Caller, Linker, bail};

use super::super::super::capability::Level;
use super::super::super::instance::Guest;
use super::super::wasi;
use super::ENV;
use super::arena::{Arena, BLOCK_BYTES};
use super::requests::{self, Answered};

/// The most that all variables of an attempt may take, in bytes: what Extism's own hosts allow.
const MAX_VARIABLES_BYTES: u64 = 1 << 20;

/// What an attempt's guest sees of Extism.
#[derive(Debug, Default)]
pub(in super::super::super) struct Kernel {
    arena: Arena,
    /// The block of the payload.
    input: u64,
    /// As it was when it was set: the guest may free its block then.
    output: Vec<u8>,
    error: u64,
    config: BTreeMap<String, String>,
    variables: BTreeMap<String, Vec<u8>>,
    /// What their names and values take.
    variables_bytes: u64,
    /// Of the last request that it sent.
    pub(super) answered: Answered,
}

impl Kernel {
    /// With the attempt's payload as input, and its variables over what the operator configured as
    /// configuration.
    pub(super) fn new(attempt: &Attempt) -> Self {
        let configured = attempt.granted.grants.configuration();
        let config = configured.chain(wasi::variables(attempt)).collect();
        let mut kernel = Self { config, ..Self::default() };
        kernel.input = kernel.arena.insert(attempt.payload.bytes.to_vec());
        kernel
    }

    /// What the guest left.
    pub(super) fn output(&self) -> &[u8] {
        &self.output
    }

    /// The error that the guest set, if it set one.
    pub(super) fn error(&self) -> Option<String> {
        if self.error == 0 {
            return None;
        }
        let text = self.arena.block(self.error);
        let shown = &text[..text.len().min(MAX_MESSAGE_BYTES + 1)];
        Some(String::from_utf8_lossy(shown).into_owned())
    }
}

impl Guest {
    /// A new block with these bytes; 0 if there is no memory left for it.
    pub(super) fn keep(&mut self, bytes: Vec<u8>) -> u64 {
        let wanted = (bytes.len() as u64).saturating_add(BLOCK_BYTES);
        if bytes.is_empty() || !self.budget_mut().hold(wanted) {
            return 0;
        }
        self.extism().arena.insert(bytes)
    }

    fn allocate(&mut self, length: u64) -> u64 {
        // Before anything is made: a guest may ask for any length.
        let wanted = length.saturating_add(BLOCK_BYTES);
        match usize::try_from(length) {
            Ok(length) if length > 0 && self.budget_mut().hold(wanted) => {
                self.extism().arena.insert(vec![0; length])
            }
            _ => 0,
        }
    }

    /// A block that the guest gives away with the call; empty for what is none.
    pub(super) fn taken(&mut self, handle: u64) -> Vec<u8> {
        // The payload's block was not charged.
        let payload = handle == self.extism().input;
        let Some(bytes) = self.extism().arena.remove(handle) else { return vec![] };
        if !payload {
            self.budget_mut().give_back(bytes.len() as u64 + BLOCK_BYTES);
        }
        bytes
    }

    /// The same as text.
    fn taken_text(&mut self, handle: u64) -> wasmtime::Result<String> {
        match String::from_utf8(self.taken(handle)) {
            Ok(text) => Ok(text),
            Err(_) => bail!("the guest passed text to `{ENV}` that is not UTF-8"),
        }
    }

    /// Keeps what is to be the output.
    fn set_output(&mut self, at: u64, length: u64) -> wasmtime::Result<()> {
        let earlier = std::mem::take(&mut self.extism().output).len() as u64;
        self.budget_mut().give_back(earlier);
        if length == 0 {
            return Ok(());
        }
        if self.extism().arena.slice(at, length).is_none() {
            bail!("the guest set an output of {length} bytes that lie in no block");
        }
        if !self.budget_mut().hold(length) {
            bail!("there is no memory left for the guest's output");
        }
        let kernel = self.extism();
        kernel.output = kernel.arena.slice(at, length).unwrap_or_default().to_vec();
        Ok(())
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
            bail!("there is no memory left for the guest's variables");
        }
        self.extism().variables_bytes += bytes;
        self.extism().variables.insert(name, value);
        Ok(())
    }
}

type Plugin<'a> = Caller<'a, Guest>;

/// Offers all of it.
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
    linker.func_wrap(ENV, "free", |mut p: Plugin<'_>, at: u64| drop(p.data_mut().taken(at)))?;
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
        p.data_mut().set_output(at, length)
    })?;
    linker.func_wrap(ENV, "error_set", |mut p: Plugin<'_>, at: u64| {
        p.data_mut().extism().error = at;
    })?;
    linker.func_wrap(ENV, "error_get", |mut p: Plugin<'_>| p.data_mut().extism().error)?;
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
        let name = p.data_mut().taken_text(name)?;
        let value = (value != 0).then(|| p.data_mut().taken(value));
        p.data_mut().set_variable(name, value)
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
            guest.line().log(level, "", &message);
        })?;
    }
    // The lowest: the log takes everything, and is bounded.
    linker.func_wrap(ENV, "get_log_level", |_: Plugin<'_>| 0_i32)?;
    Ok(())
}
