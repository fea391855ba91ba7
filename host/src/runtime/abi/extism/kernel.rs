//! The functions of `extism:host/env`.
//!
//! Invariant: what a guest makes the host keep (blocks and variables) is granted by the attempt's
//! memory limit first; an allocation beyond answers 0, which PDKs take for a failure. A guest that passes
//! a block to a function gives it away, as to Extism's own hosts; the output and the error are read when
//! the guest has ended, also in blocks that it freed. What is no block is treated as by Extism's own hosts.

use std::collections::BTreeMap;

use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::MAX_MESSAGE_BYTES;
use jobwright_core::text;
use wasmtime::{Caller, Linker, bail};

use super::super::super::capability::channel::Level;
use super::super::super::guest::Guest;
use super::super::super::stdio::OutputBuffer;
use super::super::environment::{facts, variables};
use super::ENV;
use super::arena::{Arena, BLOCK_BYTES};
use super::requests::{self, Answered};

/// The most that the names and values of all variables of an attempt may take, in bytes: as by Extism's own
/// hosts, which count 48 bytes more for each.
const MAX_VARIABLES_BYTES: u64 = 1 << 20;

/// The longest block that is kept after an allocation that followed its release, in bytes: what programs
/// read of a block that they freed is short.
const FREED_BYTES: u64 = 64 << 10;

/// What an attempt's guest sees of Extism.
#[derive(Debug, Default)]
pub(in super::super::super) struct Kernel {
    arena: Arena,
    /// The block of the payload.
    input: u64,
    left: Left,
    /// Blocks that the guest freed: those that it had made its output or its error, and the latest, which
    /// it may still name as its output. They count as memory until they are forgotten.
    freed: Arena,
    /// The latest of them.
    latest: u64,
    config: BTreeMap<String, String>,
    variables: BTreeMap<String, Vec<u8>>,
    /// What their names and values take.
    variables_bytes: u64,
    /// Of the last request that it sent.
    pub(super) answered: Answered,
}

/// What is read when the guest has ended.
#[derive(Debug, Default, Clone, Copy)]
struct Left {
    /// Where its output begins, and how long it is.
    output: (u64, u64),
    /// The block of its error; 0 for none.
    error: u64,
}

impl Left {
    /// Whether some of it is in this block.
    fn is_in(self, handle: u64, length: u64) -> bool {
        let (at, bytes) = self.output;
        let is_output = bytes > 0 && (handle..handle + length).contains(&at);
        length > 0 && (is_output || self.error == handle)
    }
}

impl Kernel {
    /// With the attempt's payload as input. Its configuration is its variables, over them what the
    /// operator configured, and what the host tells of the job.
    pub(super) fn new(attempt: &Attempt) -> Self {
        let configured = attempt.granted.grants.configuration();
        let facts = facts(attempt).map(|(name, value)| (name.to_owned(), value));
        let facts = facts.into_iter().filter(|_| attempt.job.spec.inject_env);
        let variables = variables(attempt).into_iter();
        let config = variables.chain(configured).chain(facts).collect();
        let mut kernel = Self { config, ..Self::default() };
        kernel.input = kernel.arena.insert(attempt.payload.bytes.to_vec());
        kernel
    }

    /// What the guest left: the bytes that it named, as they are now, in pieces. Outside of a block they are
    /// zeros, as in the memory of Extism's own kernel.
    pub(super) fn output(&self) -> impl Iterator<Item = &[u8]> {
        let (at, bytes) = self.left.output;
        let found = self.arena.at(at).or_else(|| self.freed.at(at)).unwrap_or_default();
        let first = &found[..found.len().min(usize::try_from(bytes).unwrap_or(usize::MAX))];
        let rest = bytes - first.len() as u64;
        let zeros = (0..rest.div_ceil(ZEROS.len() as u64)).map(move |piece| {
            let left = rest - piece * ZEROS.len() as u64;
            &ZEROS[..ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX))]
        });
        std::iter::once(first).chain(zeros)
    }

    /// Keeps in `output` what an attempt that did not succeed left, as far as it is in a block.
    pub(super) fn keep_in(&self, output: &OutputBuffer) {
        if let Some(first) = self.output().next() {
            output.keep(first);
        }
    }

    /// Sets what the guest leaves. A range outside of memory is ignored, as by Extism's own kernel.
    fn set_output(&mut self, at: u64, length: u64) {
        if self.arena.reaches(at, length) {
            self.left.output = (at, length);
        }
    }

    /// Sets its error, or none. What is outside of memory is ignored; what is there and no block is an
    /// error without words, as by Extism's own kernel.
    fn set_error(&mut self, handle: u64) {
        if handle == 0 || self.arena.reaches(handle, 1) {
            self.left.error = handle;
        }
    }

    /// Forgets freed blocks that are not read any more; answers what they took.
    fn forget(&mut self) -> u64 {
        let (left, payload, latest) = (self.left, self.input, self.latest);
        self.freed.forget(|handle, length| {
            handle != payload && handle != latest && !left.is_in(handle, length)
        })
    }

    /// The error that the guest set, if it set one.
    pub(super) fn error(&self) -> Option<String> {
        if self.left.error == 0 {
            return None;
        }
        let message = match self.arena.block(self.left.error) {
            [] => self.freed.block(self.left.error),
            message => message,
        };
        let shown = text::start(message, MAX_MESSAGE_BYTES + 4);
        Some(String::from_utf8_lossy(shown).into_owned())
    }
}

/// What is beyond the end of a block.
static ZEROS: [u8; 4096] = [0; 4096];

impl Guest {
    /// A new block with these bytes; 0 if there is no memory left for it.
    pub(super) fn keep(&mut self, bytes: Vec<u8>) -> u64 {
        self.make_room();
        let wanted = (bytes.len() as u64).saturating_add(BLOCK_BYTES);
        if bytes.is_empty() || !self.budget_mut().hold(wanted) {
            return 0;
        }
        self.extism().arena.insert(bytes)
    }

    /// Forgets the latest block that was freed, if it is long: another is about to be made.
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
        // Before anything is made: a guest may ask for any length.
        let wanted = length.saturating_add(BLOCK_BYTES);
        match usize::try_from(length) {
            Ok(length) if length > 0 && self.budget_mut().hold(wanted) => {
                self.extism().arena.insert(vec![0; length])
            }
            _ => 0,
        }
    }

    /// Frees a block, if it is one.
    fn free(&mut self, handle: u64) {
        let kernel = self.extism();
        if let Some(bytes) = kernel.arena.remove(handle) {
            kernel.latest = handle;
            kernel.freed.put(handle, bytes);
            let forgotten = kernel.forget();
            self.budget_mut().give_back(forgotten);
        }
    }

    /// A block that the guest gives away with the call; none for what is no block.
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

    /// The same; empty for what is no block.
    pub(super) fn taken(&mut self, handle: u64) -> Vec<u8> {
        self.given(handle).unwrap_or_default()
    }

    /// The same for what must be a block, or 0, which is empty.
    pub(super) fn taken_block(&mut self, handle: u64) -> wasmtime::Result<Vec<u8>> {
        match self.given(handle) {
            None if handle != 0 => bail!("the guest passed to `{ENV}` the handle of no block"),
            bytes => Ok(bytes.unwrap_or_default()),
        }
    }

    /// The same as text.
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
    // The lowest: the log takes everything, and is bounded.
    linker.func_wrap(ENV, "get_log_level", |_: Plugin<'_>| 0_i32)?;
    Ok(())
}
