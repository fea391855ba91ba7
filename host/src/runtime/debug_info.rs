//! Plugins' debugging information, which turns the frames of a backtrace into lines of source.
//!
//! wasmtime reads it anew for each frame whenever a guest traps or exits with a code, and a guest's
//! thread can do nothing else meanwhile. So what is larger than ordinary is dropped before compiling:
//! backtraces then have the names of functions only. What a plugin computes does not change.

use std::borrow::Cow;

/// Debugging information up to this size is kept: a debug build of a small program in Rust has two
/// MiB, and a deep backtrace through it takes 10 ms (measured). Twice that stays below the time in
/// which a guest must stop.
const MOST_BYTES: usize = 4 << 20;

/// The magic number and the version.
const HEADER_BYTES: usize = 8;

/// `wasm`, without debugging information if it has too much.
pub(super) fn bounded(wasm: &[u8]) -> Cow<'_, [u8]> {
    without_over(wasm, MOST_BYTES)
}

fn without_over(wasm: &[u8], most: usize) -> Cow<'_, [u8]> {
    let Some(sections) = sections(wasm) else { return Cow::Borrowed(wasm) };
    let debug: usize = sections.iter().filter(|s| is_debug(s)).map(|s| s.len()).sum();
    if debug <= most {
        return Cow::Borrowed(wasm);
    }
    let mut kept = wasm[..HEADER_BYTES].to_vec();
    sections.iter().filter(|section| !is_debug(section)).for_each(|section| kept.extend(*section));
    Cow::Owned(kept)
}

/// The sections of a module, each with its header; `None` if it is damaged, which the compiler then
/// says better.
fn sections(wasm: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = wasm.get(HEADER_BYTES..)?;
    let mut sections = Vec::new();
    while !rest.is_empty() {
        let (length, digits) = number(rest.get(1..)?)?;
        let (section, after) = rest.split_at_checked(1 + digits + length)?;
        sections.push(section);
        rest = after;
    }
    Some(sections)
}

/// Whether it is a custom section of DWARF.
fn is_debug(section: &[u8]) -> bool {
    let name = || {
        let (_, digits) = number(section.get(1..)?)?;
        let content = section.get(1 + digits..)?;
        let (length, digits) = number(content)?;
        content.get(digits..digits.checked_add(length)?)
    };
    section.first() == Some(&0) && name().is_some_and(|name| name.starts_with(b".debug_"))
}

/// An unsigned LEB128 number of at most 32 bits, and how many bytes it takes.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn module() -> Vec<u8> {
        let text = r#"(module (@custom ".debug_line" "0123456789") (@custom "name2" "kept")
            (func (export "_start")) (@custom ".debug_info" "0123456789"))"#;
        wat::parse_str(text).expect("valid text")
    }

    #[test]
    fn debugging_information_within_the_bound_is_kept() {
        assert!(matches!(without_over(&module(), 1_000), Cow::Borrowed(_)));
    }

    #[test]
    fn more_is_dropped_and_nothing_else() {
        let wasm = module();
        let kept = without_over(&wasm, 20);
        let find = |text: &[u8]| kept.windows(text.len()).any(|window| window == text);
        assert!(find(b"kept") && find(b"_start") && !find(b".debug_"), "{kept:?}");
        wasmparser::validate(&kept).expect("it is whole");
    }

    #[test]
    fn what_is_damaged_is_left_to_the_compiler() {
        let wasm = module();
        for cut in 0..wasm.len() {
            assert!(without_over(&wasm[..cut], 0).len() <= cut);
        }
    }
}
