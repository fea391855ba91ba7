//! The limits of compiling a plugin, and the stack of its calls.

use std::time::Duration;

/// The default size of a guest's stack, in bytes: wasmtime's default.
pub const DEFAULT_STACK_BYTES: u64 = 512 << 10;

/// The sizes of the stack that an operator can set.
///
/// Below, language runtimes do not start. Above, an endless recursion runs for a second before it traps, and
/// each attempt takes address space and memory that few guests need.
pub const STACK_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

/// The limits of compiling one plugin. Compilation runs no code of the plugin, but can be slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Time, on the clock and of a processor.
    pub timeout: Duration,
    /// Address space of the process that compiles, in bytes.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        // Several times what the largest language runtimes take.
        Self { timeout: Duration::from_secs(120), memory_bytes: 2 << 30 }
    }
}
