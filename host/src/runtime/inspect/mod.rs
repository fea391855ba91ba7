//! The inspection of an upload: checks, before anything is compiled, that this host can run the
//! bytes.
//!
//! Owns the checks and their messages; not the upload. Invariant: a plugin that passes compiles and
//! links, except for wasmtime's own bounds on code and the types of what components import and
//! export; a refusal states what is missing and what would be accepted, in a message of bounded
//! length.

mod component;
mod features;
mod imports;
mod module;
mod names;
mod nesting;
mod sizes;

use jobwright_core::limits::Limits;
use jobwright_core::name::shorten;
use jobwright_core::plugin::Inspection;
use jobwright_core::runtime::{UnusableCode, UnusablePlugin};

#[cfg(test)]
pub(super) use self::features::ours as features;
pub(super) use self::imports::Offer;
use self::names::listed;

/// The first bytes of WebAssembly.
const MAGIC: &[u8] = b"\0asm";

/// The kind and the declarations of `wasm`.
pub(super) fn inspect(
    wasm: &[u8],
    offer: &Offer,
    ceiling: &Limits,
) -> Result<Inspection, UnusablePlugin> {
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

fn inspect_component(wasm: &[u8], ceiling: &Limits) -> Result<Inspection, UnusablePlugin> {
    let instances = nesting::instances(wasm)?;
    features::check(wasm).map_err(|refused| match refused.code {
        // A WIT package may describe features that this host does not have.
        UnusableCode::NeedsFeature => component::wit_package(wasm).unwrap_or(refused),
        _ => refused,
    })?;
    let mut outline = component::Outline::read(wasm).map_err(|error| features::invalid(&error))?;
    outline.sizes.set_instances(instances);
    let abi = outline.abi()?;
    outline.check_imports()?;
    outline.sizes.check(ceiling)?;
    Ok(Inspection {
        abi,
        imports: listed(outline.imports.iter().map(|import| shorten(import.name))),
        exports: listed(outline.exports.iter().map(|name| shorten(name))),
        entrypoints: vec![],
        minimum_memory_bytes: outline.sizes.starting_bytes(),
    })
}

fn check_kind(wasm: &[u8]) -> Result<(), UnusablePlugin> {
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
    Err(UnusablePlugin::new(UnusableCode::NotWasm, message))
}

fn looks_like_text(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    [&b"(module"[..], b"(component", b";;", b"(;"].iter().any(|start| text.starts_with(start))
}
