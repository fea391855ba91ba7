//! Whether bytes are a plugin that this host can run, told before anything is compiled.
//!
//! Owns the checks and their words; not the upload. Invariant: what passes here compiles and links,
//! except for wasmtime's own bounds on code and the types of what components import and export; what
//! does not is told what is missing and what would be accepted, in a message of bounded length.

mod component;
mod features;
mod imports;
mod module;
mod nesting;
mod sizes;

use jobwright_core::limits::Limits;
use jobwright_core::name::shorten;
use jobwright_core::plugin::{Inspection, MAX_NAMES};
use jobwright_core::runtime::Unusable;

#[cfg(test)]
pub(super) use self::features::ours as features;
pub(super) use self::imports::Offer;

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
    if wasmparser::Parser::is_component(wasm) {
        return inspect_component(wasm, ceiling);
    }
    features::check(wasm)?;
    let outline = module::Outline::read(wasm).map_err(|error| features::invalid(&error))?;
    let (abi, entrypoints) = outline.called()?;
    offer.check(&outline.imports)?;
    outline.sizes.check(ceiling)?;
    let import = |wanted: &module::Wanted<'_>| format!("{}.{}", wanted.module, wanted.name);
    Ok(Inspection {
        abi,
        imports: listed(outline.imports.iter().map(import)),
        exports: listed(outline.exports.iter().map(|(name, _)| shorten(name))),
        entrypoints,
        minimum_memory_bytes: outline.sizes.starting_bytes(),
    })
}

fn inspect_component(wasm: &[u8], ceiling: &Limits) -> Result<Inspection, Unusable> {
    let instances = nesting::instances(wasm)?;
    features::check(wasm).map_err(|refused| match refused.code {
        // It describes what this host does not have, but needs nothing itself.
        "needs_feature" => component::wit_package(wasm).unwrap_or(refused),
        _ => refused,
    })?;
    let mut outline = component::Outline::read(wasm).map_err(|error| features::invalid(&error))?;
    outline.sizes.set_instances(instances);
    let abi = outline.abi()?;
    outline.check_imports()?;
    outline.sizes.check(ceiling)?;
    Ok(Inspection {
        abi,
        imports: listed(outline.imports.iter().map(|(name, _)| shorten(name))),
        exports: listed(outline.exports.iter().map(|name| shorten(name))),
        entrypoints: vec![],
        minimum_memory_bytes: outline.sizes.starting_bytes(),
    })
}

fn check_kind(wasm: &[u8]) -> Result<(), Unusable> {
    if wasm.starts_with(MAGIC) {
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

/// Exports, as a message names them.
fn exported<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let quoted = names.map(|name| format!("`{}`", shorten(name)));
    self::names(quoted).unwrap_or_else(|| "nothing".to_owned())
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

/// Names as records keep them.
fn listed(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    names.truncate(MAX_NAMES);
    names
}
