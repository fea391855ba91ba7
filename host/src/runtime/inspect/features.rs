//! The features of WebAssembly that this host has, and the missing feature of an upload.
//!
//! Invariant: [`ours`] is what the engines compile; a test compares the two.

use jobwright_core::runtime::{UnusableCode, UnusablePlugin};
use jobwright_core::text::excerpt;
use wasmparser::{BinaryReaderError, Validator, WasmFeatures};

/// The maximum length of a validator's message that is shown, in bytes: longer than all of them.
const REASON_BYTES: usize = 400;

/// Features that this host does not have, with their common names.
const MISSING: [(WasmFeatures, &str); 12] = [
    (WasmFeatures::THREADS, "threads"),
    (WasmFeatures::SHARED_EVERYTHING_THREADS, "shared-everything threads"),
    (WasmFeatures::MEMORY64, "64-bit memories (memory64)"),
    (WasmFeatures::EXCEPTIONS, "exceptions"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "legacy exceptions"),
    (WasmFeatures::FUNCTION_REFERENCES, "typed function references"),
    (WasmFeatures::GC.union(WasmFeatures::GC_TYPES), "garbage collection (GC)"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
    (ASYNC, "asynchronous components (WASI 0.3)"),
    (UNFINISHED, "an unfinished part of the component model"),
];

/// The features of WASI 0.3 that WASI 0.2 does not use.
const ASYNC: WasmFeatures = WasmFeatures::CM_ASYNC
    .union(WasmFeatures::CM_ASYNC_STACKFUL)
    .union(WasmFeatures::CM_MORE_ASYNC_BUILTINS)
    .union(WasmFeatures::CM_THREADING)
    .union(WasmFeatures::CM_ERROR_CONTEXT);

/// Features that no version of WASI uses.
const UNFINISHED: WasmFeatures = WasmFeatures::CM_VALUES
    .union(WasmFeatures::CM_NESTED_NAMES)
    .union(WasmFeatures::CM_FIXED_LENGTH_LISTS)
    .union(WasmFeatures::CM_GC)
    .union(WasmFeatures::CM_MAP)
    .union(WasmFeatures::CM_IMPLEMENTS)
    .union(WasmFeatures::CM_CANON_NAMES);

/// The features that the engines compile.
pub(in super::super) fn ours() -> WasmFeatures {
    let mut features = WasmFeatures::WASM3.union(WasmFeatures::COMPONENT_MODEL);
    for (missing, _) in MISSING {
        features.remove(missing);
    }
    features
}

/// Validates `wasm` as the engines will.
pub(super) fn check(wasm: &[u8]) -> Result<(), UnusablePlugin> {
    let Err(error) = validate(wasm, ours()) else { return Ok(()) };
    match needed(wasm, &error) {
        Some(name) => Err(UnusablePlugin::new(
            UnusableCode::NeedsFeature,
            format!(
                "it needs {name}, which this host does not have: {} at offset {:#x}; it has \
                 WebAssembly 2.0 with SIMD, multiple memories, tail calls, extended constants and \
                 components",
                excerpt(error.message().as_bytes(), REASON_BYTES),
                error.offset()
            ),
        )),
        None => Err(invalid(&error)),
    }
}

/// The refusal of an invalid module.
pub(super) fn invalid(error: &BinaryReaderError) -> UnusablePlugin {
    let message = excerpt(error.message().as_bytes(), REASON_BYTES);
    let offset = error.offset();
    UnusablePlugin::new(
        UnusableCode::InvalidWasm,
        format!("it is damaged: {message} at offset {offset:#x}"),
    )
}

/// The missing feature that stopped the validation.
fn needed(wasm: &[u8], error: &BinaryReaderError) -> Option<&'static str> {
    let everything = MISSING.iter().fold(ours(), |all, (missing, _)| all.union(*missing));
    if !gets_beyond(wasm, everything, error) {
        return None;
    }
    let alone = |with| gets_beyond(wasm, ours().union(with), error);
    let found = MISSING.iter().find(|(feature, _)| alone(*feature));
    // Some features depend on each other: then the one without which validation stops.
    let without = |missing| !gets_beyond(wasm, everything.difference(missing), error);
    let found = found.or_else(|| MISSING.iter().find(|(feature, _)| without(*feature)));
    Some(found.map_or("a feature", |(_, name)| name))
}

fn gets_beyond(wasm: &[u8], features: WasmFeatures, error: &BinaryReaderError) -> bool {
    validate(wasm, features).err().is_none_or(|other| other.offset() > error.offset())
}

fn validate(wasm: &[u8], features: WasmFeatures) -> Result<(), BinaryReaderError> {
    Validator::new_with_features(features).validate_all(wasm).map(|_| ())
}
