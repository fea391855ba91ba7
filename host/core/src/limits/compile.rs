//! The limits of compiling a plugin, and the stack of its calls.

use std::time::Duration;

/// What a guest's own calls may take of the stack, in bytes, unless the operator says otherwise: wasmtime's
/// default.
pub const DEFAULT_STACK_BYTES: u64 = 512 << 10;

/// The bounds of that. Below, language runtimes do not start. Above, an endless recursion takes a second to
/// come to its end, and each attempt takes address space and memory that few need.
pub const STACK_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

/// What compiling one plugin may take. It runs no code of the plugin's, but takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Time, on the clock and of a processor.
    pub timeout: Duration,
    /// Address space of the process that compiles, in bytes.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        // Some times what the largest language runtimes take.
        Self { timeout: Duration::from_secs(120), memory_bytes: 2 << 30 }
    }
}
