//! Whether bytes are a plugin that this host can run, told before anything is compiled.
//!
//! Owns the checks and their words; not the upload. Invariant: what passes here compiles and links,
//! except for wasmtime's own bounds on code; what does not is told what is missing and what would be
//! accepted, in a message of bounded length.

mod features;
mod imports;
mod module;

use jobwright_core::limits::{Limits, show_bytes};
use jobwright_core::name::shorten;
use jobwright_core::plugin::{Abi, Inspection};
use jobwright_core::runtime::Unusable;

#[cfg(test)]
pub(super) use self::features::ours as features;
pub(super) use self::imports::Offer;
use self::module::Outline;
use super::abi::command_p1::ENTRY_POINT;
use super::limiter::{ELEMENT_BYTES, MAX_MEMORIES, MAX_TABLES};

/// How WebAssembly begins.
const MAGIC: &[u8] = b"\0asm";

/// How many names a message holds; the rest is counted.
const MOST_NAMES: usize = 5;

/// What `wasm` is and needs.
pub(super) fn inspect(
    wasm: &[u8],
    offer: &Offer,
    ceiling: &Limits,
) -> Result<Inspection, Unusable> {
    check_kind(wasm)?;
    features::check(wasm)?;
    let outline = Outline::read(wasm).map_err(|error| features::invalid(&error))?;
    check_entry_point(&outline)?;
    offer.check(&outline.imports)?;
    check_sizes(&outline, ceiling)?;
    let mut imports: Vec<_> = outline.imports.iter().map(imports::shown).collect();
    imports.sort();
    imports.dedup();
    Ok(Inspection {
        abi: Abi::WasiCommandP1,
        imports,
        minimum_memory_bytes: outline.starting_bytes(),
    })
}

fn check_kind(wasm: &[u8]) -> Result<(), Unusable> {
    if wasm.starts_with(MAGIC) {
        if wasmparser::Parser::is_component(wasm) {
            return Err(Unusable::new(
                "component",
                "this is a component, which this host does not run yet; it runs core modules that \
                 export `_start` and import wasi_snapshot_preview1 (for Rust: build for \
                 wasm32-wasip1 instead of wasm32-wasip2)",
            ));
        }
        return Ok(());
    }
    let message = if wasm.is_empty() {
        "it is empty: a WebAssembly binary is expected".to_owned()
    } else if looks_like_text(wasm) {
        "this is WebAssembly text (.wat); compile it first, e.g. with wat2wasm".to_owned()
    } else {
        let start: Vec<_> = wasm.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("it starts with {}: a WebAssembly binary starts with 00 61 73 6d", start.join(" "))
    };
    Err(Unusable::new("not_wasm", message))
}

fn looks_like_text(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    [&b"(module"[..], b"(component", b";;", b"(;"].iter().any(|start| text.starts_with(start))
}

fn check_entry_point(outline: &Outline<'_>) -> Result<(), Unusable> {
    match &outline.entry_point {
        Some(signature) if signature == "() -> ()" => Ok(()),
        Some(signature) => Err(Unusable::new(
            "no_entry_point",
            format!(
                "its export `{ENTRY_POINT}` is {}; a function () -> () is expected",
                shorten(signature)
            ),
        )),
        None => {
            let exports = names(outline.exports.iter().map(|name| format!("`{}`", shorten(name))));
            let exports = exports.map_or("nothing".to_owned(), |names| names);
            Err(Unusable::new(
                "no_entry_point",
                format!(
                    "it exports no `{ENTRY_POINT}`, but {exports}; this host runs WASI commands: \
                     core modules that export a function `{ENTRY_POINT}` (build a program with \
                     `main`, not a library)"
                ),
            ))
        }
    }
}

fn check_sizes(outline: &Outline<'_>, ceiling: &Limits) -> Result<(), Unusable> {
    let refuse = |code, message| Err(Unusable::new(code, message));
    let (memories, tables) = (outline.memories.len(), outline.tables.len());
    if memories > MAX_MEMORIES as usize {
        let message = format!("it has {memories} memories; this host gives at most {MAX_MEMORIES}");
        return refuse("too_many_memories", message);
    }
    if tables > MAX_TABLES as usize {
        let message = format!("it has {tables} tables; this host gives at most {MAX_TABLES}");
        return refuse("too_many_tables", message);
    }
    let elements = outline.starting_elements();
    if elements > ceiling.tables {
        let message = format!(
            "its tables start with {elements} elements, which exceeds the operator's maximum {}",
            ceiling.tables
        );
        return refuse("table_over_ceiling", message);
    }
    let bytes = outline.starting_bytes();
    if bytes > ceiling.memory_bytes {
        let message = format!(
            "its memories and tables start with {}, which exceeds the operator's maximum {}",
            show_bytes(bytes),
            show_bytes(ceiling.memory_bytes)
        );
        return refuse("memory_over_ceiling", message);
    }
    Ok(())
}

/// Some of `all`, and how many more there are; `None` for none.
fn names(all: impl ExactSizeIterator<Item = String>) -> Option<String> {
    let rest = all.len().saturating_sub(MOST_NAMES);
    let shown: Vec<_> = all.take(MOST_NAMES).collect();
    if shown.is_empty() {
        return None;
    }
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    Some(shown.join(", ") + &more)
}

impl Outline<'_> {
    fn starting_elements(&self) -> u64 {
        self.tables.iter().fold(0, |sum, minimum| sum.saturating_add(*minimum))
    }

    /// What its memories and tables take at the start.
    fn starting_bytes(&self) -> u64 {
        let tables = self.starting_elements().saturating_mul(ELEMENT_BYTES);
        self.memories.iter().fold(tables, |sum, bytes| sum.saturating_add(*bytes))
    }
}
