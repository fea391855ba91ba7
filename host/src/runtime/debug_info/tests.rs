use super::*;

const FIELDS: &str = r#"(@custom ".debug_line" "0123456789") (@custom "name2" "kept")
    (func (export "_start")) (@custom ".debug_info" "0123456789")"#;

fn module() -> Vec<u8> {
    wat::parse_str(format!("(module {FIELDS})")).expect("valid text")
}

#[test]
fn debugging_information_within_the_bound_is_kept() {
    assert!(matches!(without_over(&module(), 1_000), Cow::Borrowed(_)));
}

#[test]
fn debugging_information_above_the_bound_is_dropped_alone() {
    let wasm = module();
    let kept = without_over(&wasm, 20);
    let find = |text: &[u8]| kept.windows(text.len()).any(|window| window == text);
    assert!(find(b"kept") && find(b"_start") && !find(b".debug_"), "{kept:?}");
    wasmparser::validate(&kept).expect("it is whole");
}

/// A component with that module in it, and in a component in it.
fn component() -> Vec<u8> {
    let text = format!(
        r#"(component (@custom ".debug_str" "0123456789") (core module {FIELDS})
            (component (core module {FIELDS})) (@custom "name2" "kept too"))"#
    );
    wat::parse_str(text).expect("valid text")
}

#[test]
fn debugging_information_within_components_is_dropped_too() {
    let wasm = component();
    assert!(matches!(without_over(&wasm, 1_000), Cow::Borrowed(_)));
    let kept = without_over(&wasm, 100);
    let count = |text: &[u8]| kept.windows(text.len()).filter(|window| window == &text).count();
    assert_eq!((count(b"kept"), count(b"_start"), count(b".debug_")), (3, 2, 0), "{kept:?}");
    wasmparser::validate(&kept).expect("it is whole");
}

#[test]
fn damaged_bytes_are_left_to_the_compiler() {
    for wasm in [module(), component()] {
        for cut in 0..wasm.len() {
            assert!(without_over(&wasm[..cut], 0).len() <= cut);
        }
    }
}
