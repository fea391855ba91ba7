//! Builds the example plugins and prints their paths.

use std::env;
use std::fs;
use std::process::ExitCode;

use jobwright_plugins::{Plugin, build};

const HELP: &str = "\
Builds the example plugins and shows where they are.

Usage: cargo run -p jobwright-plugins

Rust guests need the target wasm32-wasip1. Where `rustc` has none, rustup is asked for it; where
that does not help, Debian's packages serve to set up a second compiler (a download of 140 MB,
600 MB of disk, some minutes). Guests in other languages are built where a compiler is found, and
are missing elsewhere; the table says what they need.

Environment:
  JOBWRIGHT_PLUGINS_TARGET  where everything goes (default: plugins/ in cargo's target folder)
  WASI_CC, WASI_CXX, ZIG, GO, ASC, COMPONENTIZE_JS, COMPONENTIZE_PY
                            a compiler, with its first arguments, instead of those that are tried
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
            print_row(["PLUGIN", "LANGUAGE", "ABI", "SIZE", "PATH"]);
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
    let (size, place) = match plugin.wasm() {
        Ok(path) => {
            let bytes = fs::metadata(path).map_or(0, |file| file.len());
            (format!("{} kB", bytes.div_ceil(1000)), path.display().to_string())
        }
        Err(reason) => ("missing".to_owned(), reason.to_owned()),
    };
    let (language, abi) = (plugin.language.to_string(), plugin.abi.to_string());
    print_row([&plugin.name, &language, &abi, &size, &place]);
}

fn print_row([name, language, abi, size, place]: [&str; 5]) {
    println!("{name:<16}{language:<16}{abi:<12}{size:>9}  {place}");
}
