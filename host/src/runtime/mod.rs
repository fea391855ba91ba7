//! Runs attempts in WebAssembly sandboxes: the host's side of wasmtime.
//!
//! | module | owns |
//! |---|---|
//! | [`engine`] | how code is generated, and where instances live |
//! | [`code`], [`flights`], [`debug_info`] | plugins' code, from bytes to what an attempt is made of |
//! | [`instance`] | one attempt, from an armed `wasmtime::Store` to the receipt |
//! | [`abi`] | how plugins are called, and what they see |
//! | [`capability`] | what guests may tell the host and ask of it, beside WASI |
//! | [`meter`], [`epoch`], [`limiter`], [`stdio`] | the limits: time and stop, giving way, memory, output and log |
//! | [`turns`] | whether a guest waits, or lets others have their turn |
//! | [`ending`], [`trap`], [`exception`] | what an ending means |
//! | [`mod@start`], [`clocks`] | random numbers and clocks, which follow from where the attempt begins |
//! | [`pieces`] | long work of a host call |
//! | [`guests`] | the threads |
//! | [`process`], [`signals`] | attempts in processes of their own, which leave signals to their host |
//! | [`inspect`] | whether bytes can run here, before they are compiled |
//!
//! Owns no job and no store of jobs: an attempt comes in, an [`Ended`] goes out. Invariants: running
//! never fails and never panics towards the caller; a guest that is stopped, in whatever it does,
//! ends within milliseconds; a guest gets nothing that its attempt does not grant.

mod abi;
mod capability;
mod clocks;
mod code;
mod debug_info;
mod ending;
mod engine;
mod epoch;
mod exception;
mod flights;
mod guests;
mod inspect;
mod instance;
mod limiter;
mod meter;
mod pieces;
#[cfg(target_os = "linux")]
mod process;
mod signals;
mod start;
mod stdio;
mod trap;
mod turns;
mod words;

use std::any::Any;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::limits::{CompileLimits, DEFAULT_STACK_BYTES, Limits, STACK_BYTES};
use jobwright_core::log::{LogBuffer, LogSnapshot};
use jobwright_core::outcome::{AttemptError, Outcome, Usage, millis};
use jobwright_core::plugin::{Digest, Inspection};
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::{Ended, Runtime, StopReason, StopSignal, Unprepared, Unusable};
use jobwright_core::tenant::TenantName;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use self::abi::Prepared;
use self::code::{Bounds, Codes, Ready};
use self::engine::{EngineConfig, Engines, Shape};
use self::epoch::Ticker;
use self::guests::Guests;
use self::inspect::Offer;
use self::instance::Guest;
use crate::clock::Stopwatch;
use crate::registry::compiled::{self, CompiledCache};
use crate::registry::compiler::Compiler;

#[cfg(target_os = "linux")]
pub use self::process::ProcessRuntime;

/// If this process was started by a host to compile a plugin, or to run attempts: does that, and
/// answers how it went.
///
/// A program that runs a host is those processes too, so it calls this before anything else.
#[must_use]
pub fn obey_if_asked() -> Option<ExitCode> {
    let obeyed = code::compile_if_asked();
    #[cfg(target_os = "linux")]
    let obeyed = obeyed.or_else(process::run_if_asked);
    obeyed
}

/// Slots when nobody says otherwise: jobs that sleep or wait should not block others.
const DEFAULT_SLOTS: usize = 64;

/// Compiled code in memory when nobody says otherwise: some tens of large plugins.
const DEFAULT_CODE_BYTES: u64 = 256 << 20;

/// Room beside the slots for attempts that were dropped and whose guest has not given way yet.
const SPARE_ATTEMPTS: usize = 8;

/// How instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Allocator {
    /// From a pool if the system gives the address space, else as [`Self::OnDemand`].
    #[default]
    Auto,
    /// From a pool that is reserved at start: several times faster for short jobs.
    Pooling,
    /// From the system, each time.
    OnDemand,
}

/// How a [`WasmRuntime`] is made.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Attempts at one time; more wait.
    pub slots: usize,
    /// Threads that run guests.
    pub guest_threads: usize,
    /// The most that any attempt may use, which sizes the pool.
    pub ceiling: Limits,
    /// Where compiled code is kept across restarts, on a disk of this machine; absent for nowhere.
    pub cache_dir: Option<PathBuf>,
    /// The bound of `cache_dir`, in bytes.
    pub cache_bytes: u64,
    /// The free space of its disk below which nothing more is kept there, in bytes.
    pub cache_free_bytes: u64,
    /// How much compiled code is kept in memory, in bytes.
    pub code_cache_bytes: u64,
    /// Has plugins compiled in a process of its own, which may take so much; absent for in this
    /// one, without limits. A program that sets it calls [`obey_if_asked`] first.
    pub compile_limits: Option<CompileLimits>,
    /// How instances get their memory.
    pub allocator: Allocator,
    /// What a guest's own calls may take of the stack, in bytes; brought within [`STACK_BYTES`].
    pub stack_bytes: u64,
}

impl RuntimeConfig {
    fn of_engines(&self) -> EngineConfig {
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

/// Starts what runs attempts: in this process, or each in one of its own.
///
/// # Errors
/// With a reason a person can act on, if this machine cannot run guests in this way.
pub fn start(
    in_processes: bool,
    config: RuntimeConfig,
    registry: Arc<dyn PluginRegistry>,
) -> anyhow::Result<Arc<dyn Runtime>> {
    if !in_processes {
        return Ok(Arc::new(WasmRuntime::new(config, registry)?));
    }
    #[cfg(target_os = "linux")]
    return Ok(Arc::new(ProcessRuntime::new(config, registry)?));
    #[cfg(not(target_os = "linux"))]
    anyhow::bail!("attempts run in processes of their own on Linux only");
}

/// Runs attempts with wasmtime. Dropping it stops every guest, without waiting.
pub struct WasmRuntime {
    host: Arc<Host>,
    guests: Guests,
    ceiling: Limits,
    offer: Offer,
}

/// What every attempt needs.
struct Host {
    codes: Codes<Prepared>,
    ticker: Arc<Ticker>,
    /// One for each attempt that the pool has room for.
    room: Semaphore,
}

impl WasmRuntime {
    /// Makes the engine and starts the threads.
    ///
    /// # Errors
    /// With a reason a person can act on, if this machine cannot run guests or the cache directory
    /// cannot be used.
    pub fn new(config: RuntimeConfig, registry: Arc<dyn PluginRegistry>) -> anyhow::Result<Self> {
        let attempts = config.slots.saturating_add(SPARE_ATTEMPTS);
        let ticker = Arc::new(Ticker::start()?);
        let guests = Guests::start(config.guest_threads)?;
        let shape = Shape { attempts, config: config.of_engines(), asks_for_pages: true };
        let engines = Engines::new(shape, ticker.clone())?;
        let codes = codes(&config, engines, registry, guests.handle())?;
        let offer = Offer::new(&codes.first_machine().modules, Guest::idle());
        let host = Arc::new(Host { codes, ticker, room: Semaphore::new(attempts) });
        Ok(Self { host, guests, ceiling: config.ceiling, offer })
    }
}

/// The way to code for `engines`, made on `threads`.
fn codes<R: Ready>(
    config: &RuntimeConfig,
    engines: Engines,
    registry: Arc<dyn PluginRegistry>,
    threads: &Handle,
) -> anyhow::Result<Codes<R>> {
    let disk = config
        .cache_dir
        .clone()
        .map(|directory| {
            CompiledCache::open(directory, config.cache_bytes, config.cache_free_bytes)
        })
        .transpose()?;
    // Half of what guests have, since compiling shares the processors with them; no more than there are
    // attempts that could wait for one.
    let compilations = (config.guest_threads / 2).min(config.slots).max(1);
    let compiler = |limits| Compiler::new(limits, config.guest_threads / compilations);
    let bounds = Bounds {
        threads: threads.clone(),
        slots: config.slots,
        compiler: config.compile_limits.map(compiler).transpose()?,
        compilations,
        most_bytes: config.code_cache_bytes,
    };
    Ok(Codes::new(engines, registry, disk, bounds))
}

impl std::fmt::Debug for WasmRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmRuntime").field("guests", &self.guests).finish_non_exhaustive()
    }
}

#[async_trait]
impl Runtime for WasmRuntime {
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, Unusable> {
        inspect::inspect(wasm, &self.offer, &self.ceiling)
    }

    async fn prepare(
        &self,
        tenant: &TenantName,
        digest: Digest,
        wasm: Bytes,
    ) -> Result<(), Unprepared> {
        self.host.codes.prepare(tenant, digest, wasm).await.map(drop)
    }

    async fn run(&self, attempt: Attempt, stop: StopSignal) -> Ended {
        let (payload, log) = (attempt.payload.bytes.len() as u64, attempt.log.clone());
        let host = self.host.clone();
        completed(self.guests.run(host.attempt(attempt, stop)).await, payload, &log)
    }
}

/// The end of an attempt's task, with what the host itself knows in its receipt: the length of the
/// payload, and the log.
fn completed(ended: Result<Ended, JoinError>, payload: u64, log: &LogBuffer) -> Ended {
    let mut ended = ended.unwrap_or_else(|broken| unreceipted(broken_off(broken)));
    let usage = &mut ended.usage;
    usage.payload_bytes = payload;
    (usage.log_bytes, usage.log_dropped_bytes) = counts(log);
    ended
}

/// How much of a log was kept and dropped.
fn counts(log: &LogBuffer) -> (u64, u64) {
    if log.written() == 0 {
        return (0, 0); // as for most jobs, without a copy of the log
    }
    let LogSnapshot { kept_bytes, dropped_bytes, .. } = log.snapshot();
    (kept_bytes, dropped_bytes)
}

impl Host {
    async fn attempt(self: Arc<Self>, attempt: Attempt, mut stop: StopSignal) -> Ended {
        let watch = Stopwatch::start();
        let ready = self.codes.of_attempt(&attempt, &mut stop).await;
        let compile_ms = millis(watch.elapsed());
        let mut ended = match ready {
            Ok(code) => self.on(&code, &attempt, stop).await,
            Err(outcome) => unreceipted(outcome),
        };
        ended.usage.compile_ms = compile_ms;
        ended
    }

    async fn on(&self, code: &Prepared, attempt: &Attempt, mut stop: StopSignal) -> Ended {
        // Held to the end of the attempt. Never closed, so an error means nothing.
        let _room = match self.room.try_acquire() {
            Ok(room) => Ok(room),
            Err(_) => match unless_stopped(&mut stop, self.room.acquire()).await {
                Ok(room) => room,
                Err(reason) => return unreceipted(ending::stopped(reason)),
            },
        };
        let _watch = self.ticker.watch();
        instance::run(code, attempt, stop).await
    }
}

/// What `wait` answers, unless the signal is raised first.
async fn unless_stopped<F: Future>(
    stop: &mut StopSignal,
    wait: F,
) -> Result<F::Output, StopReason> {
    tokio::select! {
        biased;
        answer = wait => Ok(answer),
        reason = stop.wait() => Err(reason),
    }
}

fn unreceipted(outcome: Outcome) -> Ended {
    Ended::new(outcome, Usage::default())
}

/// The attempt's task did not come to its end: the host failed, or its threads were stopped.
fn broken_off(broken: JoinError) -> Outcome {
    match broken.try_into_panic() {
        Ok(panic) => panicked(panic.as_ref()),
        Err(_) => Outcome::Interrupted,
    }
}

/// The code of an attempt under which the host failed.
const HOST_PANIC: &str = "host_panic";

/// The code of an attempt whose process ended before it did.
pub(crate) const PROCESS_DIED: &str = "process_died";

fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let reason = text.unwrap_or("no reason given");
    let error = AttemptError::new(HOST_PANIC, format!("the host panicked: {reason}"));
    Outcome::Trapped { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_host_is_an_outcome() {
        let guests = Guests::start(1).expect("threads");
        let broken = guests.run(async { panic!("table {} is torn", 7) }).await;
        let Outcome::Trapped { error } = broken_off(broken.expect_err("a panic")) else {
            panic!("another outcome");
        };
        assert_eq!(error.code, "host_panic");
        assert_eq!(error.message, "the host panicked: table 7 is torn");
    }

    #[tokio::test]
    async fn threads_that_were_stopped_interrupt_their_guests() {
        let guests = Guests::start(1).expect("threads");
        let waiting = guests.run(std::future::pending::<()>());
        drop(guests);
        let broken = waiting.await.expect_err("the threads are gone");
        assert_eq!(broken_off(broken), Outcome::Interrupted);
    }
}
