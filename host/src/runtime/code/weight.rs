//! The size of code in memory.

use wasmparser::{Parser, Payload};

/// The approximate size of the code of `wasm` in memory, in bytes: the machine code, and many times
/// the size of the plugin's imports, exports, declarations and names.
pub(super) fn weight(wasm: &[u8], artefact: &[u8]) -> u64 {
    /// The factor of the worst case: hundreds of thousands of imports and exports (measured).
    const TIMES: u64 = 16;
    let is_declaration = |payload: &Payload<'_>| {
        !matches!(
            payload,
            Payload::CodeSectionStart { .. }
                | Payload::DataSection(_)
                | Payload::CustomSection(_)
                // Their own sections follow.
                | Payload::ModuleSection { .. }
                | Payload::ComponentSection { .. }
        )
    };
    let payloads = Parser::new(0).parse_all(wasm).filter_map(Result::ok).filter(is_declaration);
    let declared: usize = payloads.filter_map(|payload| Some(payload.as_section()?.1.len())).sum();
    artefact.len() as u64 + TIMES * declared as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_weigh_more_than_code_and_data() {
        let weigh = |text: String| {
            let wasm = wat::parse_str(text).expect("valid text");
            (weight(&wasm, &[]), wasm.len() as u64)
        };
        let exports: String = (0..1000).map(|n| format!(r#"(export "e{n}" (func 0))"#)).collect();
        let (named, length) = weigh(format!("(module (func) {exports})"));
        assert!(named > 15 * length, "{named} {length}");
        let (data, length) = weigh(format!(r#"(module (memory 1) (data "{}"))"#, "x".repeat(5000)));
        assert!(data < length, "{data} {length}");
        let (nested, _) = weigh(format!("(component (core module (func) {exports}))"));
        assert!(nested.abs_diff(named) < 1000, "{nested} {named}");
    }
}
