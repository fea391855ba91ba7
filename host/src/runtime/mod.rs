//! Runs attempts in WebAssembly sandboxes: the host's side of wasmtime.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the configuration |
//! | [`in_process`], [`process`] | the two runtimes: attempts in this process, or each in another one |
//! | [`engine`], [`profile`], [`machine`] | wasmtime's engines: code generation, and the memory of instances |
//! | [`code`], [`single_flight`], [`debug_info`] | plugins' code, from bytes to the form that attempts use |
//! | [`attempt`] | one attempt, from its `wasmtime::Store` to the receipt |
//! | [`guest`] | the state in a guest's `wasmtime::Store` |
//! | [`abi`] | the kinds of plugins: their entry points and imports |
//! | [`capability`] | host functions in addition to WASI |
//! | [`meter`], [`epoch`], [`limiter`], [`stdio`] | the limits: time, stop, yields, memory, output, log |
//! | [`yield_state`] | whether a guest waits for something, or only yielded |
//! | [`ending`], [`trap`], [`exception`], [`words`] | the outcome of an attempt |
//! | [`mod@start`], [`clocks`] | random numbers and clocks, derived from the start of the attempt |
//! | [`pieces`] | long work of one host call |
//! | [`guests`] | the threads that run guests |
//! | [`receipt`] | the receipt of an attempt, also of one that the host failed to run |
//! | [`signals`] | signals in the processes that the host starts |
//! | [`inspect`] | the inspection of uploads, before they are compiled |
//!
//! Owns no job and no store of jobs: an attempt comes in, its end goes out. Invariants: running
//! never fails and never panics towards the caller; a guest that is stopped ends within
//! milliseconds, also in an endless loop; a guest gets nothing that its attempt does not grant.

mod abi;
mod attempt;
mod capability;
mod clocks;
mod code;
mod config;
mod debug_info;
mod ending;
mod engine;
mod epoch;
mod exception;
mod guest;
mod guests;
mod in_process;
mod inspect;
mod limiter;
mod machine;
mod meter;
mod pieces;
#[cfg(target_os = "linux")]
mod process;
mod profile;
mod receipt;
mod signals;
mod single_flight;
mod start;
mod stdio;
mod trap;
mod words;
mod yield_state;

use std::process::ExitCode;
use std::sync::Arc;

use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::Runtime;

pub use self::config::{Allocator, RuntimeConfig};
pub use self::in_process::InProcessRuntime;
#[cfg(target_os = "linux")]
pub use self::process::ProcessRuntime;
pub(crate) use self::receipt::PROCESS_DIED;

/// If this process was started by a host to compile a plugin, or to run attempts: does that, and
/// returns its exit code.
///
/// A host starts its own program for these processes, so such a program calls this before anything else.
#[must_use]
pub fn run_child_process_if_requested() -> Option<ExitCode> {
    let exit = code::compile_if_requested();
    #[cfg(target_os = "linux")]
    let exit = exit.or_else(process::run_if_requested);
    exit
}

/// Starts a runtime: in this process, or with each attempt in a process of its own.
///
/// # Errors
/// With a reason that an operator can act on, if this machine cannot run guests in this way.
pub fn start(
    in_processes: bool,
    config: RuntimeConfig,
    registry: Arc<dyn PluginRegistry>,
) -> anyhow::Result<Arc<dyn Runtime>> {
    if !in_processes {
        return Ok(Arc::new(InProcessRuntime::new(config, registry)?));
    }
    #[cfg(target_os = "linux")]
    return Ok(Arc::new(ProcessRuntime::new(config, registry)?));
    #[cfg(not(target_os = "linux"))]
    anyhow::bail!("attempts run in separate processes on Linux only");
}
