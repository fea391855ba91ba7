//! Runs attempts in WebAssembly sandboxes: the host's side of wasmtime.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | what the operator configures |
//! | [`in_process`], [`process`] | the two runtimes: attempts in this process, or each in another one |
//! | [`engine`], [`profile`], [`machine`] | how code is generated, and where instances live |
//! | [`code`], [`single_flight`], [`debug_info`] | plugins' code, from bytes to the form that attempts use |
//! | [`attempt`] | one attempt, from an armed `wasmtime::Store` to the receipt |
//! | [`guest`] | what a guest's `wasmtime::Store` holds |
//! | [`abi`] | how plugins are called, and what they see |
//! | [`capability`] | what the host offers to guests in addition to WASI |
//! | [`meter`], [`epoch`], [`limiter`], [`stdio`] | the limits: time, stop, yields, memory, output, log |
//! | [`yield_state`] | whether a guest waits for something, or only yielded |
//! | [`ending`], [`trap`], [`exception`], [`words`] | what an ending means |
//! | [`mod@start`], [`clocks`] | random numbers and clocks, which follow from where the attempt begins |
//! | [`pieces`] | long work of one host call |
//! | [`guests`] | the threads that run guests |
//! | [`receipt`] | the receipt of an attempt, also of one that the host failed to run |
//! | [`signals`] | signals in the processes that the host starts |
//! | [`inspect`] | whether bytes can run here, before they are compiled |
//!
//! Owns no job and no store of jobs: an attempt comes in, its end goes out. Invariants: running
//! never fails and never panics towards the caller; a guest that is stopped ends within milliseconds,
//! whatever it does; a guest gets nothing that its attempt does not grant.

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
