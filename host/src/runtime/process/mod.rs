//! Runs attempts in processes of their own, so that a guest that breaks out of its WebAssembly sandbox,
//! or takes its process down, has nothing and takes nobody with it.
//!
//! ```text
//! ProcessRuntime::run ─ code, compiled as ever; never run here
//!    └ pool ─ a runner: this program, started again, one attempt at a time
//!        └ runner ─ one pipe ─ inside: the sandbox, and in it the same `instance::run`
//!             order: payload, limits, grants ─►
//!             ◄─ log, progress, checkpoint; calls to the outside, which the host makes; the end
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`pool`] | the runners that there are |
//! | [`runner`], [`calls`] | the host's end: a process, and one attempt in it |
//! | [`inside`], [`outside`], [`sandbox`] | the process's end: an attempt, what it reaches, what it cannot |
//! | [`message`], [`pipe`] | what is said between them |
//!
//! Invariants: a runner that dies costs one attempt; no runner outlives its host; nothing that a runner
//! says makes the host do what the attempt was not granted.

mod calls;
mod inside;
mod message;
mod outside;
mod pipe;
mod pool;
mod runner;
mod sandbox;

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::limits::Limits;
use jobwright_core::outcome::{AttemptError, Outcome, millis};
use jobwright_core::plugin::{Digest, Inspection};
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::{Ended, Runtime, StopSignal, Unprepared, Unusable};

pub(super) use self::inside::run_if_asked;
use self::pool::{Pool, Taken};
use self::runner::Runner;
use super::abi::Prepared;
use super::code::{self, Codes, Ready};
use super::engine::{Engines, Shape};
use super::epoch::Ticker;
use super::guests::Guests;
use super::inspect::{self, Offer};
use super::instance::Guest;
use super::{RuntimeConfig, completed, ending, unless_stopped, unreceipted};
use crate::clock::Stopwatch;

/// Runs attempts in other processes. Dropping it kills them, without waiting.
pub struct ProcessRuntime {
    host: Arc<Host>,
    threads: Guests,
    ceiling: Limits,
    offer: Offer,
}

/// What every attempt needs.
struct Host {
    codes: Codes<Artefact>,
    pool: Arc<Pool>,
}

/// Code that was found to fit, for whoever runs it.
struct Artefact(Bytes);

impl Ready for Artefact {
    fn new(_: Prepared, artefact: Vec<u8>) -> Self {
        Self(artefact.into())
    }
}

impl ProcessRuntime {
    /// Starts a first process, and with it finds out whether there can be any. Blocks for it.
    ///
    /// # Errors
    /// With a reason a person can act on, if this machine cannot run guests, the program does not
    /// call [`obey_if_asked`](super::obey_if_asked), or the cache directory cannot be used.
    pub fn new(config: RuntimeConfig, registry: Arc<dyn PluginRegistry>) -> anyhow::Result<Self> {
        // A thread that lives as long as this: the processes end with the thread that started them.
        let threads = Guests::start_with_files(1)?;
        // Code is only looked at here, and nothing runs; but it is compiled for engines like those of
        // the processes.
        let shape = Shape { attempts: 1, ceiling: config.ceiling, asks_for_pages: false };
        let engines = Engines::new(shape, config.allocator, Arc::new(Ticker::start()?))?;
        let codes = super::codes::<Artefact>(&config, engines, registry, threads.handle())?;
        let offer = Offer::new(&codes.first_machine().modules, Guest::idle());
        let (ceiling, allocator) = (config.ceiling, config.allocator);
        let (sender, started) = std::sync::mpsc::channel();
        threads.handle().spawn(async move {
            let _ = sender.send(Runner::start(ceiling, allocator).await);
        });
        let (first, missing) = started.recv().context("cannot start processes for attempts")??;
        for what in &missing {
            tracing::warn!("processes that run attempts are less shut in here: no {what}");
        }
        let sizes = (config.slots.max(1), config.guest_threads.max(1));
        let pool = Arc::new(Pool::new(sizes, ceiling, allocator, (first, missing)));
        threads.handle().spawn(Pool::sweep(Arc::downgrade(&pool)));
        Ok(Self { host: Arc::new(Host { codes, pool }), threads, ceiling, offer })
    }
}

impl std::fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessRuntime").field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, Unusable> {
        inspect::inspect(wasm, &self.offer, &self.ceiling)
    }

    async fn prepare(&self, digest: Digest, wasm: Bytes) -> Result<(), Unprepared> {
        self.host.codes.prepare(digest, wasm).await
    }

    async fn run(&self, attempt: Attempt, stop: StopSignal) -> Ended {
        let (payload, log) = (attempt.payload.bytes.len() as u64, attempt.log.clone());
        let host = self.host.clone();
        completed(self.threads.run(host.attempt(attempt, stop)).await, payload, &log)
    }
}

impl Host {
    async fn attempt(self: Arc<Self>, attempt: Attempt, mut stop: StopSignal) -> Ended {
        let watch = Stopwatch::start();
        let ready = self.ready(&attempt, &mut stop).await;
        let compile_ms = millis(watch.elapsed());
        let mut ended = match ready {
            Ok(mut taken) => {
                let (ended, goes_on) = taken.runner.run(&attempt, stop).await;
                if goes_on {
                    self.pool.give_back(taken);
                }
                ended
            }
            Err(outcome) => unreceipted(outcome),
        };
        ended.usage.compile_ms = compile_ms;
        ended
    }

    /// A runner that has the code for `attempt`, or how the attempt ends without.
    async fn ready(&self, attempt: &Attempt, stop: &mut StopSignal) -> Result<Taken, Outcome> {
        let artefact = self.codes.of_attempt(attempt, stop).await?;
        let key = code::key(attempt);
        let ready = async {
            let mut reason = String::new();
            // A second time, because one that has just died had nothing to do and is nobody's attempt.
            for _ in 0..2 {
                let mut taken = self.pool.take(&attempt.job.spec.tenant, key).await?;
                match taken.runner.load(key, artefact.0.clone()).await {
                    Ok(()) => return Ok(taken),
                    Err(error) => reason = error,
                }
            }
            anyhow::bail!("a process did not load the plugin: {reason}")
        };
        match unless_stopped(stop, ready).await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(error)) => {
                let error = AttemptError::new("process_unavailable", format!("{error:#}"));
                Err(Outcome::Refused { error, transient: true })
            }
            Err(reason) => Err(ending::stopped(reason)),
        }
    }
}
