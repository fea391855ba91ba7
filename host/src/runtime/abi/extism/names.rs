//! The names of imports and exports of Extism plug-ins.

/// The module whose functions make a module an Extism plug-in.
pub(in crate::runtime) const ENV: &str = "extism:host/env";

/// Functions that initialize a language's runtime. Only one of the first two is called, because the
/// second calls the first; the last is Haskell's, and is called after the second.
pub(super) const RUNTIME: [&str; 3] = [CONSTRUCTORS, INITIALIZE, HASKELL];

pub(super) const CONSTRUCTORS: &str = "__wasm_call_ctors";
pub(super) const INITIALIZE: &str = "_initialize";
pub(super) const HASKELL: &str = "hs_init";

/// The entry point of a program, which prepares its runtime itself.
pub(super) const START: &str = "_start";

/// Whether an export of this name and signature is a job's entry point, and not its runtime's own.
pub(in crate::runtime) fn is_entry_point(name: &str, signature: &str) -> bool {
    let callable = matches!(signature, "() -> ()" | "() -> (i32)");
    if callable && name == START {
        return true;
    }
    callable && !name.starts_with('_') && !RUNTIME.contains(&name) && !name.contains("asyncify")
}
