//! Checks that the committed bindings are those of the current world.

use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator as _};

/// If this variable is set, the test writes the bindings instead of comparing them.
const UPDATE: &str = "UPDATE_BINDINGS";

#[test]
fn the_bindings_are_what_wit_bindgen_makes_of_the_world() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings/job.rs");
    let made = generate();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(
        kept == made,
        "bindings/job.rs is not current: run `{UPDATE}=1 cargo test -p jobwright-guest --test bindings`"
    );
}

#[expect(clippy::unwrap_used, reason = "only the test calls it")]
fn generate() -> String {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
    let (package, _) = resolve.push_dir(&wit).unwrap();
    let world = resolve.select_world(&[package], Some("job")).unwrap();
    // `generate_all`: also for the packages that the world imports.
    let options = wit_bindgen_rust::Opts { generate_all: true, format: true, ..Default::default() };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).unwrap();
    let (_, bytes) = files.iter().next().unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}
