//! The state of an Extism guest in the host: its memory, variables, configuration, output and
//! error.

use std::collections::BTreeMap;

use http::response::Parts;
use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::MAX_MESSAGE_BYTES;
use jobwright_core::text;

use super::super::super::capability::request_json::headers_json;
use super::super::super::stdio::OutputBuffer;
use super::super::environment::{facts, variables};
use super::arena::Arena;

/// The state of Extism for the guest of one attempt.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Kernel {
    pub(super) arena: Arena,
    /// The block of the payload.
    pub(super) input: u64,
    pub(super) left: Left,
    /// Blocks that the guest freed and that may still be read: its output, its error, and the block
    /// that it freed last, which it may still set as its output. They count as memory until they
    /// are dropped.
    pub(super) freed: Arena,
    /// The handle of the block that was freed last.
    pub(super) latest: u64,
    pub(super) config: BTreeMap<String, String>,
    pub(super) variables: BTreeMap<String, Vec<u8>>,
    /// The size of their names and values, in bytes.
    pub(super) variables_bytes: u64,
    /// The response to its last request.
    pub(super) answered: Answered,
}

/// The ranges that are read when the guest has ended.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Left {
    /// The address and the length of its output.
    output: (u64, u64),
    /// The block of its error; 0 for none.
    pub(super) error: u64,
}

impl Left {
    /// Whether a part of the output or error is in this block.
    pub(super) fn is_in(self, handle: u64, length: u64) -> bool {
        let (at, bytes) = self.output;
        let is_output = bytes > 0 && (handle..handle + length).contains(&at);
        length > 0 && (is_output || self.error == handle)
    }
}

impl Kernel {
    /// The state at the start of `attempt`, with its payload as input. The configuration is made of
    /// the variables, then the values that the operator configured, then the host's facts about the
    /// job; later ones override.
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

    /// The output: the bytes of the range that the guest set, as they are now, in pieces. Outside
    /// of a block they are zeros, as in the memory of Extism's own kernel.
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

    /// Keeps the output of an attempt that did not succeed in `output`, as far as it is in a block.
    pub(super) fn keep_in(&self, output: &OutputBuffer) {
        if let Some(first) = self.output().next() {
            output.keep(first);
        }
    }

    /// Sets the range of the output. A range outside of memory is ignored, as by Extism's own
    /// kernel.
    pub(super) fn set_output(&mut self, at: u64, length: u64) {
        if self.arena.reaches(at, length) {
            self.left.output = (at, length);
        }
    }

    /// Sets or clears the error. A handle outside of memory is ignored; a handle in memory that
    /// names no block is an error without a message, as by Extism's own kernel.
    pub(super) fn set_error(&mut self, handle: u64) {
        if handle == 0 || self.arena.reaches(handle, 1) {
            self.left.error = handle;
        }
    }

    /// Drops freed blocks that are not read any more; returns their size.
    pub(super) fn forget(&mut self) -> u64 {
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

/// The bytes beyond the end of a block.
static ZEROS: [u8; 4096] = [0; 4096];

/// The facts about its last request that a guest can read.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// 0 before the first.
    pub(super) status: u16,
    /// A JSON object, in the format of Extism.
    pub(super) headers: String,
}

impl Answered {
    pub(super) fn of(head: &Parts) -> Self {
        Self { status: head.status.as_u16(), headers: headers_json(&head.headers) }
    }
}
