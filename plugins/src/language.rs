//! What a plugin is written in, and how it speaks to its host.

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

/// How a plugin takes its payload and leaves its output. The host reads this off the bytes; here
/// it is what the source means to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// A core module, WASI preview 1: payload on stdin, output on stdout, log on stderr.
    Command,
    /// A component that exports `wasi:cli/run`: the same, without exit codes but 0 and 1.
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
