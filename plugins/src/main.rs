//! Builds the example plugins and shows where they are.

use std::env;
use std::fs;
use std::process::ExitCode;

use jobwright_plugins::{Availability, Plugin, build};

const HELP: &str = "\
Builds the example plugins and shows where they are.

Usage: cargo run -p jobwright-plugins

Rust guests need the target wasm32-wasip1. Where `rustc` has none, rustup is asked for it; where
that does not help, Debian's packages serve to set up a second compiler (a download of 140 MB,
600 MB of disk, some minutes). C guests are built where `python3 -m ziglang cc`, `zig cc` or
`clang` can compile for WASI, and are missing elsewhere.

Environment:
  JOBWRIGHT_PLUGINS_TARGET  where everything goes (default: plugins/ in cargo's target folder)
  WASI_CC                   the C compiler, with its arguments, instead of those above
  FORCE_FALLBACK=1          use Debian's packages even where rustup would do
  WASM_RUST_PREFIX          where they go (default: wasm-rust/ in the plugins' target folder)";

fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        None => {}
        Some("-h" | "--help") => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("error: unexpected argument `{other}`; see --help");
            return ExitCode::from(2);
        }
    }
    match build(|line| eprintln!("{line}")) {
        Ok(plugins) => {
            print_row("PLUGIN", "LANGUAGE", "SIZE", "PATH");
            plugins.iter().for_each(print_plugin);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_plugin(plugin: &Plugin) {
    let (size, place) = match &plugin.availability {
        Availability::Built(path) => {
            let bytes = fs::metadata(path).map_or(0, |file| file.len());
            (format!("{} kB", bytes.div_ceil(1000)), path.display().to_string())
        }
        Availability::Missing { reason } => ("missing".to_owned(), reason.clone()),
    };
    print_row(&plugin.name, &format!("{:?}", plugin.language), &size, &place);
}

fn print_row(name: &str, language: &str, size: &str, place: &str) {
    println!("{name:<16}{language:<10}{size:>8}  {place}");
}
