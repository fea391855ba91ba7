//! Plugins' debugging information, which turns the frames of a backtrace into lines of source.
//!
//! wasmtime reads it again for each frame whenever a guest traps or exits with a code, and blocks
//! the guest's thread meanwhile. So unusually large debugging information is dropped before
//! compiling: backtraces then have the names of functions only. The plugin's behaviour does not
//! change.

use std::borrow::Cow;

use wasmparser::Parser;

/// Debugging information up to this size is kept: a debug build of a small program in Rust has two
/// MiB, and a deep backtrace through it takes 10 ms (measured). Twice that stays below the time in
/// which a guest must stop.
const MOST_BYTES: usize = 4 << 20;

/// The magic number and the version.
const HEADER_BYTES: usize = 8;

/// Sections of a component that hold a module or a component.
const NESTED: [u8; 2] = [1, 4];

/// The maximum depth of modules in components: deeper ones stay unchanged, and uploads with deeper
/// ones are refused.
pub(super) const MAX_DEPTH: usize = 16;

/// `wasm`, a module or a component, without debugging information if it has too much.
pub(super) fn bounded(wasm: &[u8]) -> Cow<'_, [u8]> {
    without_over(wasm, MOST_BYTES)
}

fn without_over(wasm: &[u8], most: usize) -> Cow<'_, [u8]> {
    let Some(parts) = parts(wasm, MAX_DEPTH) else { return Cow::Borrowed(wasm) };
    if parts.iter().map(Part::debug_bytes).sum::<usize>() <= most {
        return Cow::Borrowed(wasm);
    }
    Cow::Owned(rebuilt(wasm, &parts))
}

/// A section.
enum Part<'a> {
    /// DWARF, with its header.
    Debug(&'a [u8]),
    /// A module or component within a component: the section's number, its content, and the parts
    /// of the content.
    Nested(u8, &'a [u8], Vec<Part<'a>>),
    /// Any other, with its header.
    Plain(&'a [u8]),
}

impl Part<'_> {
    fn debug_bytes(&self) -> usize {
        match self {
            Self::Debug(section) => section.len(),
            Self::Nested(_, _, parts) => parts.iter().map(Self::debug_bytes).sum(),
            Self::Plain(_) => 0,
        }
    }
}

/// The sections of a module or component; `None` if it is damaged, which the compiler then reports.
fn parts(wasm: &[u8], depth: usize) -> Option<Vec<Part<'_>>> {
    let mut rest = wasm.get(HEADER_BYTES..)?;
    let nests = Parser::is_component(wasm) && depth > 0;
    let mut parts = Vec::new();
    while let Some(&id) = rest.first() {
        let (length, digits) = number(&rest[1..])?;
        let (section, after) = rest.split_at_checked(1 + digits + length)?;
        let content = &section[1 + digits..];
        parts.push(if nests && NESTED.contains(&id) {
            Part::Nested(id, content, self::parts(content, depth - 1)?)
        } else if id == 0 && is_debug(content) {
            Part::Debug(section)
        } else {
            Part::Plain(section)
        });
        rest = after;
    }
    Some(parts)
}

/// `wasm`, which consists of `parts`, without its debugging information.
fn rebuilt(wasm: &[u8], parts: &[Part<'_>]) -> Vec<u8> {
    let mut kept = wasm[..HEADER_BYTES].to_vec();
    for part in parts {
        match part {
            Part::Debug(_) => {}
            Part::Plain(section) => kept.extend(*section),
            Part::Nested(id, content, parts) => {
                let content = rebuilt(content, parts);
                kept.push(*id);
                put_number(&mut kept, content.len());
                kept.extend(content);
            }
        }
    }
    kept
}

/// Whether a custom section with this content is one of DWARF.
fn is_debug(content: &[u8]) -> bool {
    let name = number(content)
        .and_then(|(length, digits)| content.get(digits..digits.checked_add(length)?));
    name.is_some_and(|name| name.starts_with(b".debug_"))
}

/// An unsigned LEB128 number of at most 32 bits, and its length in bytes.
fn number(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}

fn put_number(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests;
