//! wasmtime's engines: how code is generated, and where instances live.
//!
//! Owns the two [`Profile`]s of code and their settings; not the code itself. Invariants: all code
//! runs under epochs; the pool of an engine always has room for as many attempts as the runtime lets
//! in, so that no attempt fails for want of a slot.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use jobwright_core::limits::{DEFAULT_STACK_BYTES, Fuel, Limits};
use serde::{Deserialize, Serialize};
use wasmtime::error::Context as _;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, Linker, OperatorCost,
    PoolingAllocationConfig, VariableOperatorCost, WasmBacktraceDetails, WasmFeatures, component,
};

use super::epoch::Ticker;
use super::instance::Guest;
use super::limiter::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use super::{Allocator, abi};

/// What calls of the host get of the stack of an attempt, beside: what wasmtime leaves them by default.
const HOST_STACK_BYTES: usize = 1536 << 10;

/// What WebAssembly with 32-bit addresses can address, and so what is reserved for each memory: then
/// no access needs a check, because whatever is beyond faults.
const RESERVED_BYTES: u64 = 4 << 30;

/// Where there is no address space for a pool there is none for that either: then memories take what they
/// hold, every access is checked, and growth moves them now and then, each time with so much to spare.
const SPARE_BYTES: u64 = 16 << 20;

/// What an instance takes beside its memories and tables: globals, functions, types. The largest of the
/// example plugins, of Go, takes 80 KiB; programs compiled from C# come close to one MiB.
const INSTANCE_BYTES: usize = 2 << 20;

/// What all instances of a component take so. Python and JavaScript take a few hundred KiB.
const COMPONENT_BYTES: usize = 4 << 20;

// Admission counts on it, so nothing larger is let in.
const _: () = assert!(
    (COMPONENT_BYTES + HOST_STACK_BYTES) as u64 + DEFAULT_STACK_BYTES <= Limits::ATTEMPT_BYTES
);
const _: () = assert!(INSTANCE_BYTES <= COMPONENT_BYTES);

/// Kept of each memory that was used, so that the next attempt finds its pages mapped. It pays for
/// itself (measured: twice the small jobs per second); 64 slots take 64 MiB, and eight times that if
/// each has had a guest with as many memories as there may be.
const RESIDENT_BYTES: usize = 1 << 20;

/// The same for each table and each stack.
const RESIDENT_SMALL_BYTES: usize = 64 << 10;

/// How many parts of slots are given back to the system at once. More would save calls, and leave up
/// to seven memories of attempts that are over, of a GiB each, with a host that has nothing to do.
const DECOMMIT_BATCH: usize = 1;

/// Frames of a backtrace, as by default. Each is looked up in the plugin's debugging information,
/// which takes half a millisecond for two MiB of it (measured) and cannot be interrupted.
const FRAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);

/// How code is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Profile {
    /// With fuel and epochs.
    Fuel,
    /// With epochs only.
    Epochs,
}

impl Profile {
    /// The profile that a job with this limit needs.
    pub(super) fn of(fuel: Fuel) -> Self {
        match fuel {
            Fuel::Units(_) => Self::Fuel,
            Fuel::Unlimited => Self::Epochs,
        }
    }

    /// A word for file names.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::Epochs => "epochs",
        }
    }
}

/// How much address space memories have, which decides what code must check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Space {
    /// All that a guest can address.
    Ample,
    /// What they hold.
    Scarce,
}

/// What code is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Target(pub(super) Profile, pub(super) Space);

impl Target {
    const ALL: [Self; 4] = [
        Self(Profile::Fuel, Space::Ample),
        Self(Profile::Epochs, Space::Ample),
        Self(Profile::Fuel, Space::Scarce),
        Self(Profile::Epochs, Space::Scarce),
    ];

    /// The target of this [`Self::word`].
    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.word() == word)
    }

    /// A word for the process that compiles.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self(Profile::Fuel, Space::Ample) => "fuel",
            Self(Profile::Epochs, Space::Ample) => "epochs",
            Self(Profile::Fuel, Space::Scarce) => "fuel-scarce",
            Self(Profile::Epochs, Space::Scarce) => "epochs-scarce",
        }
    }
}

/// What the operator decides of the engines, in whichever process they are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct EngineConfig {
    /// The most that one attempt may use.
    pub(super) ceiling: Limits,
    /// How instances get their memory.
    pub(super) allocator: Allocator,
    /// What a guest's own calls may take of the stack. It is the same for all guests: wasmtime has it per
    /// engine.
    pub(super) stack_bytes: usize,
}

/// What the pool of each engine must hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Attempts at one time.
    pub(super) attempts: usize,
    pub(super) config: EngineConfig,
    /// Whether the system is asked which pages were written, through a file of this process's own;
    /// else all are cleared.
    pub(super) asks_for_pages: bool,
}

/// An engine with what the host offers to its guests.
pub(super) struct Machine {
    pub(super) engine: Engine,
    pub(super) target: Target,
    pub(super) modules: Linker<Guest>,
    pub(super) components: component::Linker<Guest>,
}

/// The engines, of which the second is made when the first job needs it.
pub(super) struct Engines {
    shape: Shape,
    ticker: Arc<Ticker>,
    fuel: Arc<Machine>,
    epochs: Mutex<Option<Arc<Machine>>>,
}

impl Engines {
    /// Makes the first engine.
    ///
    /// # Errors
    /// If this machine cannot run guests, or not in the way that the allocator demands.
    pub(super) fn new(shape: Shape, ticker: Arc<Ticker>) -> anyhow::Result<Self> {
        let fuel = Arc::new(machine(Profile::Fuel, &shape)?);
        ticker.add(&fuel.engine);
        Ok(Self { shape, ticker, fuel, epochs: Mutex::default() })
    }

    /// The engine for code of this profile.
    ///
    /// # Errors
    /// If it has to be made and cannot.
    pub(super) fn machine(&self, profile: Profile) -> anyhow::Result<Arc<Machine>> {
        if profile == Profile::Fuel {
            return Ok(self.fuel.clone());
        }
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*epochs {
            return Ok(made.clone());
        }
        let made = Arc::new(machine(profile, &self.shape)?);
        self.ticker.add(&made.engine);
        Ok(epochs.insert(made).clone())
    }

    /// The engine that always is.
    pub(super) fn first(&self) -> &Machine {
        &self.fuel
    }
}

fn machine(profile: Profile, shape: &Shape) -> wasmtime::Result<Machine> {
    let (engine, space) = engine(profile, shape)?;
    let mut modules = Linker::new(&engine);
    abi::link_modules(&mut modules).context("cannot offer host functions")?;
    let mut components = component::Linker::new(&engine);
    abi::link_components(&mut components).context("cannot offer interfaces")?;
    Ok(Machine { engine, target: Target(profile, space), modules, components })
}

fn engine(profile: Profile, shape: &Shape) -> wasmtime::Result<(Engine, Space)> {
    let EngineConfig { allocator, stack_bytes, .. } = shape.config;
    let config = |space| {
        let mut config = config(Target(profile, space));
        config.max_wasm_stack(stack_bytes).async_stack_size(stack_bytes + HOST_STACK_BYTES);
        config
    };
    if allocator != Allocator::OnDemand {
        // All address space is reserved here, so that making the engine is the probe.
        let made = Engine::new(config(Space::Ample).allocation_strategy(pool(shape)));
        match (made, allocator) {
            (Ok(engine), _) => return Ok((engine, Space::Ample)),
            (Err(error), Allocator::Pooling) => {
                return Err(error.context(format!(
                    "cannot reserve address space for {} guests; {REMEDY}",
                    shape.attempts
                )));
            }
            (Err(error), _) => tracing::warn!(
                guests = shape.attempts,
                error = format!("{error:#}"),
                "cannot reserve address space for a pool of guests: each attempt will allocate for \
                 itself, which is several times slower for short jobs; {REMEDY}"
            ),
        }
    }
    let scarce = Engine::new(&config(Space::Scarce));
    Ok((scarce.context("cannot make an engine for guests")?, Space::Scarce))
}

/// An engine that compiles code for this target and runs none.
///
/// # Errors
/// If wasmtime cannot compile for this machine.
pub(super) fn compiling(target: Target) -> wasmtime::Result<Engine> {
    Engine::new(&config(target))
}

const REMEDY: &str = "raise the limit on address space (`ulimit -v`, RLIMIT_AS, a container's \
                      memory policy, vm.overcommit_memory=2) or lower `--workers`";

/// Everything that shapes the generated code: two engines with the same answer share compiled code.
fn config(Target(profile, space): Target) -> Config {
    let mut config = Config::new();
    match space {
        Space::Ample => config.memory_reservation(RESERVED_BYTES),
        Space::Scarce => config
            .memory_reservation(0)
            .memory_guard_size(0)
            .memory_reservation_for_growth(SPARE_BYTES),
    };
    config
        .epoch_interruption(true)
        .consume_fuel(profile == Profile::Fuel)
        .operator_cost(costs())
        .memory_init_cow(true)
        // Threads, GC and exceptions are not even compiled into wasmtime here.
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_gc(false)
        // On by default, although what it is for is not compiled in.
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

/// As by default, and memory that grows is charged: the system zeroes its pages at first use. 255 a
/// page is the most that wasmtime takes.
fn costs() -> OperatorCost {
    let variable = VariableOperatorCost { memory_grow_per_page: u8::MAX, ..Default::default() };
    OperatorCost { variable, ..OperatorCost::new() }
}

fn pool(shape: &Shape) -> InstanceAllocationStrategy {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::runtime::inspect;

    fn shape(attempts: usize, allocator: Allocator) -> Shape {
        let (ceiling, stack_bytes) = (Limits::CEILING, 512 << 10);
        let config = EngineConfig { ceiling, allocator, stack_bytes };
        Shape { attempts, config, asks_for_pages: true }
    }

    #[test]
    fn uploads_are_checked_for_the_features_that_code_is_compiled_with() {
        // Each side has a wasmparser of its own: only names compare.
        let names = |all: &mut dyn Iterator<Item = &'static str>| -> BTreeSet<_> { all.collect() };
        let checked = names(&mut inspect::features().iter_names().map(|(name, _)| name));
        for target in Target::ALL {
            let engine = Engine::new(&config(target)).expect("an engine");
            let compiled = engine.get_wasm_features();
            let compiled = names(&mut compiled.iter_names().map(|(name, _)| name));
            assert_eq!(checked, compiled);
        }
    }

    #[test]
    fn the_pool_is_used_where_the_system_gives_the_address_space() {
        let pooled = |allocator| {
            let (engine, space) = engine(Profile::Fuel, &shape(4, allocator)).expect("an engine");
            let pooled = engine.get_pooling_config().is_some();
            assert_eq!(pooled, space == Space::Ample);
            pooled
        };
        assert!(pooled(Allocator::Pooling));
        assert!(!pooled(Allocator::OnDemand));
    }

    #[test]
    fn a_pool_that_the_system_does_not_give_is_done_without() {
        // 2^20 guests need 2^54 bytes; processors have 2^47.
        let shape = |allocator| shape(1 << 20, allocator);
        engine(Profile::Fuel, &shape(Allocator::Auto)).expect("an engine without a pool");
        let error = engine(Profile::Fuel, &shape(Allocator::Pooling)).expect_err("no such space");
        assert!(error.to_string().contains("`--workers`"), "{error}");
    }
}
