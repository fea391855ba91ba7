//! Runs each attempt in a separate process, so that a guest that breaks out of its WebAssembly sandbox
//! reaches nothing, and a guest that crashes its process ends no other attempt.
//!
//! ```text
//! ProcessRuntime::run ─ code, compiled as ever; never run here
//!    └ pool ─ a runner: this program, started again, one attempt at a time
//!        └ runner ─ one pipe ─ child: the sandbox, and in it the same `attempt::run`
//!             payload, limits, grants ─►
//!             ◄─ log, progress, checkpoint; calls to services, which the host makes; the end
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`runtime`] | the runtime: code, and a runner for each attempt |
//! | [`pool`] | the runners that there are |
//! | [`runner`], [`run`], [`calls`] | the host's end: a process, one attempt in it, and its calls |
//! | [`child`], [`through_host`], [`sandbox`] | the process's end: an attempt, its calls, its sandbox |
//! | [`message`], [`pipe`] | what is sent between them |
//! | [`bounds`], [`memory`] | how much an attempt may ask for at one time, and a process may take |
//!
//! Invariants: a runner that dies costs one attempt; no runner outlives its host; no message from a runner
//! makes the host do what the attempt was not granted; a runner runs jobs of one plugin of one tenant only;
//! compiled code is bytes to the host, and is loaded by runners only.

mod bounds;
mod calls;
mod child;
mod memory;
mod message;
mod pipe;
mod pool;
mod run;
mod runner;
mod runtime;
pub(super) mod sandbox;
mod through_host;

pub(super) use self::child::run_if_requested;
pub use self::runtime::ProcessRuntime;
