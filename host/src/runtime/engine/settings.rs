//! The settings of wasmtime's engines: everything that shapes the generated code, and the pool.

use std::num::NonZeroUsize;

use jobwright_core::limits::{DEFAULT_STACK_BYTES, Limits};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig,
    VariableOperatorCost, WasmBacktraceDetails, WasmFeatures,
};

use super::super::config::EngineConfig;
use super::super::limiter::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use super::super::profile::{Profile, Space, Target};

/// The part of an attempt's stack for calls of the host, in addition to the guest's own: wasmtime's
/// default.
pub(super) const HOST_STACK_BYTES: usize = 1536 << 10;

/// The address space of WebAssembly with 32-bit addresses, which is reserved for each memory: then
/// no access needs a check, because every access beyond the memory faults.
const RESERVED_BYTES: u64 = 4 << 30;

/// The spare room of a memory on a machine without address space for a pool: only the current size
/// of a memory is reserved, every access is checked, and a growth beyond the spare room moves the
/// memory.
const SPARE_BYTES: u64 = 16 << 20;

/// The maximum size of an instance without its memories and tables: globals, functions, types. The
/// largest of the example plugins, written in Go, takes 80 KiB; programs compiled from C# come
/// close to one MiB.
const INSTANCE_BYTES: usize = 2 << 20;

/// The maximum size of all instances of a component, without memories and tables. Python and
/// JavaScript take a few hundred KiB.
const COMPONENT_BYTES: usize = 4 << 20;

// Admission reserves this much, so larger instances must not be possible.
const _: () = assert!(
    (COMPONENT_BYTES + HOST_STACK_BYTES) as u64 + DEFAULT_STACK_BYTES <= Limits::ATTEMPT_BYTES
);
const _: () = assert!(INSTANCE_BYTES <= COMPONENT_BYTES);

/// The part of each used memory that stays mapped for the next attempt. It pays for itself
/// (measured: twice the small jobs per second); 64 slots take 64 MiB, and eight times that if each
/// has had a guest with the maximum number of memories.
const RESIDENT_BYTES: usize = 1 << 20;

/// The part of each used table and stack that stays mapped.
const RESIDENT_SMALL_BYTES: usize = 64 << 10;

/// How many parts of slots are given back to the system at once. More would save system calls, but an
/// idle host would keep up to seven memories of finished attempts, of a GiB each.
const DECOMMIT_BATCH: usize = 1;

/// The maximum number of frames of a backtrace: wasmtime's default. Each is looked up in the
/// plugin's debugging information, which takes half a millisecond for two MiB of it (measured) and
/// cannot be interrupted.
const FRAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);

/// The requirements on the pool of each engine.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Shape {
    /// The maximum number of attempts at one time.
    pub(in super::super) attempts: usize,
    pub(in super::super) config: EngineConfig,
    /// Whether to ask the system which pages were written, through a file of this process's own;
    /// otherwise all pages are cleared.
    pub(in super::super) asks_for_pages: bool,
}

/// Everything that shapes the generated code: two engines with equal settings share compiled code.
pub(super) fn config(target: Target) -> Config {
    let mut config = Config::new();
    match target.space {
        Space::Ample => config.memory_reservation(RESERVED_BYTES),
        Space::Scarce => config
            .memory_reservation(0)
            .memory_guard_size(0)
            .memory_reservation_for_growth(SPARE_BYTES),
    };
    config
        .epoch_interruption(true)
        .consume_fuel(target.profile == Profile::Fuel)
        .operator_cost(costs())
        .memory_init_cow(true)
        // Support for threads, GC and exceptions is not compiled into wasmtime here.
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_gc(false)
        // On by default, although the features that need it are not compiled in.
        .wasm_features(WasmFeatures::FUNCTION_REFERENCES, false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .wasm_wide_arithmetic(false)
        .wasm_backtrace_max_frames(Some(FRAMES))
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // Only for debuggers and profilers outside of wasmtime. Registering it slows down with
        // every module that is loaded, and a host loads thousands; Windows cannot do without.
        .native_unwind_info(cfg!(windows));
    config
}

/// The default costs, and a cost for memory growth, because the system zeroes pages at first use.
/// 255 per page is wasmtime's maximum.
fn costs() -> OperatorCost {
    let variable = VariableOperatorCost { memory_grow_per_page: u8::MAX, ..Default::default() };
    OperatorCost { variable, ..OperatorCost::new() }
}

/// The pool of an engine of this shape.
pub(super) fn pool(shape: &Shape) -> InstanceAllocationStrategy {
    let attempts = u32::try_from(shape.attempts).unwrap_or(u32::MAX);
    let memory_bytes = shape.config.ceiling.memory_bytes.min(RESERVED_BYTES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(attempts.saturating_mul(MAX_INSTANCES))
        .max_core_instances_per_component(MAX_INSTANCES)
        .total_component_instances(attempts)
        .max_component_instance_size(COMPONENT_BYTES)
        .total_stacks(attempts)
        .total_memories(attempts.saturating_mul(MAX_MEMORIES))
        .max_memories_per_module(MAX_MEMORIES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_memory_size(usize::try_from(memory_bytes).unwrap_or(usize::MAX))
        .total_tables(attempts.saturating_mul(MAX_TABLES))
        .max_tables_per_module(MAX_TABLES)
        .max_tables_per_component(MAX_TABLES)
        .table_elements(usize::try_from(shape.config.ceiling.tables).unwrap_or(usize::MAX))
        .max_core_instance_size(INSTANCE_BYTES)
        .max_unused_warm_slots(attempts)
        .decommit_batch_size(DECOMMIT_BATCH)
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .table_keep_resident(RESIDENT_SMALL_BYTES)
        .async_stack_keep_resident(RESIDENT_SMALL_BYTES)
        // Linux 6.7 and later tell which pages were written.
        .pagemap_scan(if shape.asks_for_pages { Enabled::Auto } else { Enabled::No });
    InstanceAllocationStrategy::Pooling(pool)
}
