//! The language of a plugin, and its ABI.

use std::fmt;

/// The language that a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust; these can always be built, or [`build`](crate::build) fails.
    Rust,
    /// C.
    C,
    /// C++.
    Cpp,
    /// Zig.
    Zig,
    /// Go.
    Go,
    /// `AssemblyScript`.
    AssemblyScript,
    /// JavaScript.
    JavaScript,
    /// Python.
    Python,
}

/// How a plugin reads its payload and writes its output. The host detects this from the bytes; here it is
/// declared by the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// A core module, WASI preview 1: payload on stdin, output on stdout, log on stderr.
    Command,
    /// A component that exports `wasi:cli/run`: the same, with only the exit codes 0 and 1.
    CommandComponent,
    /// A component that exports `wasi:http/incoming-handler`: the payload is the body of a `POST`,
    /// the output that of the response.
    Http,
    /// A component that exports the world `job` of the guest SDK.
    Job,
    /// An Extism plug-in.
    Extism,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpp => f.pad("C++"),
            other => f.pad(&format!("{other:?}")),
        }
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Command => "command",
            Self::CommandComponent => "command 0.2",
            Self::Http => "HTTP",
            Self::Job => "typed job",
            Self::Extism => "Extism",
        })
    }
}
