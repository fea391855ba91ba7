//! How a runtime is configured: what the operator decides, and what of it the engines need.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use jobwright_core::limits::{CompileLimits, DEFAULT_STACK_BYTES, Limits, STACK_BYTES};
use serde::{Deserialize, Serialize};

use crate::registry::compiled;

/// The default number of slots. It is larger than the number of processors, so that jobs that sleep or
/// wait do not block others.
const DEFAULT_SLOTS: usize = 64;

/// The default bound on compiled code in memory, in bytes: some tens of large plugins.
const DEFAULT_CODE_BYTES: u64 = 256 << 20;

/// How instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Allocator {
    /// From a pool if the system provides the address space, otherwise as [`Self::OnDemand`].
    #[default]
    Auto,
    /// From a pool that is reserved at start: several times faster for short jobs.
    Pooling,
    /// From the system, for each attempt.
    OnDemand,
}

/// The configuration of a runtime.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// The maximum number of attempts at one time; further attempts wait.
    pub slots: usize,
    /// Threads that run guests.
    pub guest_threads: usize,
    /// The highest limits that any attempt may have, which determine the size of the pool.
    pub ceiling: Limits,
    /// The directory that keeps compiled code across restarts, on a disk of this machine. `None` keeps it
    /// in memory only.
    pub cache_dir: Option<PathBuf>,
    /// The maximum size of `cache_dir`, in bytes.
    pub cache_bytes: u64,
    /// Nothing is added to `cache_dir` while its disk has less free space than this, in bytes.
    pub cache_free_bytes: u64,
    /// The maximum of compiled code in memory, in bytes.
    pub code_cache_bytes: u64,
    /// The limits of the separate process that compiles a plugin. `None` compiles in this process, without
    /// limits. A program that sets it calls
    /// [`run_child_process_if_requested`](super::run_child_process_if_requested) first.
    pub compile_limits: Option<CompileLimits>,
    /// How instances get their memory.
    pub allocator: Allocator,
    /// The stack of a guest's own calls, in bytes; clamped to [`STACK_BYTES`].
    pub stack_bytes: u64,
}

impl RuntimeConfig {
    /// The part that the engines need.
    pub(super) fn engines(&self) -> EngineConfig {
        let stack = self.stack_bytes.clamp(*STACK_BYTES.start(), *STACK_BYTES.end());
        EngineConfig {
            ceiling: self.ceiling,
            allocator: self.allocator,
            stack_bytes: usize::try_from(stack).unwrap_or(usize::MAX),
        }
    }
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            slots: DEFAULT_SLOTS,
            guest_threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            ceiling: Limits::CEILING,
            cache_dir: None,
            cache_bytes: compiled::DEFAULT_MOST_BYTES,
            cache_free_bytes: 0,
            code_cache_bytes: DEFAULT_CODE_BYTES,
            compile_limits: None,
            allocator: Allocator::Auto,
            stack_bytes: DEFAULT_STACK_BYTES,
        }
    }
}

/// What the operator decides about engines, in the host and in every process that runs attempts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct EngineConfig {
    /// The highest limits that one attempt may have.
    pub(super) ceiling: Limits,
    /// How instances get their memory.
    pub(super) allocator: Allocator,
    /// The stack of a guest's own calls, in bytes. All guests have the same, because wasmtime sets it per
    /// engine.
    pub(super) stack_bytes: usize,
}
