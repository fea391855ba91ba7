//! The runtime that runs each attempt in a separate process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::limits::Limits;
use jobwright_core::outcome::{AttemptError, Outcome, millis};
use jobwright_core::plugin::{Digest, Inspection};
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::{
    Ended, Runtime, StopSignal, Unprepared, UnusableCode, UnusablePlugin,
};
use jobwright_core::tenant::TenantName;

use super::super::code::key::CodeKey;
use super::super::code::{CodeCache, Ready, UNUSABLE, Unready};
use super::super::config::RuntimeConfig;
use super::super::engine::{Engines, Shape};
use super::super::epoch::Ticker;
use super::super::guest::Guest;
use super::super::guests::Guests;
use super::super::inspect::{self, Offer};
use super::super::machine::Machine;
use super::super::meter::unless_stopped;
use super::super::profile::Profile;
use super::super::{ending, receipt};
use super::message::Unloaded;
use super::pool::{Pool, Sizes, Taken};
use super::runner::{Owner, Runner};
use crate::clock::Stopwatch;
use crate::shares::table::TRIALS;
use crate::shares::{Share, Shares};

/// Runs attempts in separate processes. Dropping it kills them, without waiting.
pub struct ProcessRuntime {
    host: Arc<Host>,
    threads: Guests,
    ceiling: Limits,
    offer: Offer,
}

/// The state that all attempts share.
struct Host {
    code_cache: CodeCache<Artefact>,
    pool: Arc<Pool>,
    /// Permits to load the code of uploads, to find out whether it fits.
    trials: Shares,
}

/// How long an upload may wait for its permit and be tried.
const TRY: Duration = Duration::from_secs(60);

/// Code as bytes. The host does not parse it, so that a bug in the compiler's output cannot harm the host.
struct Artefact(Bytes);

impl Ready for Artefact {
    fn ready(_: &Machine, artefact: Vec<u8>) -> Result<Self, Unready> {
        Ok(Self(artefact.into()))
    }
}

impl ProcessRuntime {
    /// Starts a first process, to find out whether this machine can. Blocks until it is ready.
    ///
    /// # Errors
    /// With a reason that an operator can act on, if this machine cannot run guests, the program does not
    /// call [`run_child_process_if_requested`](crate::runtime::run_child_process_if_requested), or the cache
    /// directory cannot be used.
    pub fn new(config: RuntimeConfig, registry: Arc<dyn PluginRegistry>) -> anyhow::Result<Self> {
        // A thread that lives as long as the runtime: processes end with the thread that started them.
        let threads = Guests::start_with_files(1)?;
        // An engine for the table of host functions and for the settings of compiled code, which
        // are those of the processes.
        let engine_config = config.engines();
        let shape = Shape { attempts: 1, config: engine_config, asks_for_pages: false };
        let engines = Engines::new(shape, Arc::new(Ticker::start()?))?;
        let code_cache = CodeCache::<Artefact>::open(&config, engines, registry, threads.handle())?;
        let offer = Offer::new(&code_cache.first_machine().modules, Guest::idle());
        let (sender, started) = std::sync::mpsc::channel();
        threads.handle().spawn(async move {
            let _ = sender.send(Runner::start(engine_config).await);
        });
        let first = started.recv().context("cannot start attempt processes")??;
        for what in &first.missing {
            tracing::warn!("attempt processes have a weaker sandbox on this machine: no {what}");
        }
        let sizes = Sizes { slots: config.slots.max(1), kept: config.guest_threads.max(1) };
        let pool = Arc::new(Pool::new(sizes, engine_config, first));
        threads.handle().spawn(Pool::sweep(Arc::downgrade(&pool)));
        let ceiling = config.ceiling;
        let host = Arc::new(Host { code_cache, pool, trials: Shares::new(&TRIALS) });
        Ok(Self { host, threads, ceiling, offer })
    }
}

impl std::fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessRuntime").field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, UnusablePlugin> {
        inspect::inspect(wasm, &self.offer, &self.ceiling)
    }

    async fn prepare(
        &self,
        tenant: &TenantName,
        digest: Digest,
        wasm: Bytes,
    ) -> Result<(), Unprepared> {
        let artefact = self.host.code_cache.prepare(tenant, digest, wasm).await?;
        let host = self.host.clone();
        let (share, key) = (host.trials.of(tenant), CodeKey { digest, profile: Profile::Fuel });
        let tried = self.threads.run(host.tried(share, key, artefact.0.clone()));
        tried.await.unwrap_or_else(|broken| Err(Unprepared::NotNow(broken.to_string())))
    }

    async fn run(&self, attempt: Attempt, stop: StopSignal) -> Ended {
        let (payload_bytes, log) = (attempt.payload.bytes.len() as u64, attempt.log.clone());
        let host = self.host.clone();
        receipt::complete(self.threads.run(host.attempt(attempt, stop)).await, payload_bytes, &log)
    }
}

impl Host {
    async fn attempt(self: Arc<Self>, attempt: Attempt, stop: StopSignal) -> Ended {
        let watch = Stopwatch::start();
        let ready = self.ready(&attempt, &stop).await;
        let compile_ms = millis(watch.elapsed());
        let mut ended = match ready {
            Ok(mut taken) => {
                let ran = taken.runner.run(&attempt, stop).await;
                if ran.can_continue {
                    self.pool.give_back(taken);
                }
                ran.ended
            }
            Err(outcome) => receipt::without_usage(outcome),
        };
        ended.usage.compile_ms = compile_ms;
        ended
    }

    /// Whether the code of an upload fits: a new process loads it, once there is a permit.
    async fn tried(
        self: Arc<Self>,
        permits: Share,
        key: CodeKey,
        artefact: Bytes,
    ) -> Result<(), Unprepared> {
        let trying = async {
            let _permit = permits.acquire().await;
            let mut runner = self.pool.another().await?;
            let loaded = runner.load(key, artefact).await;
            runner.stop().await;
            anyhow::Ok(loaded)
        };
        let not_now = |why: String| Unprepared::NotNow(format!("the plugin was not loaded: {why}"));
        match tokio::time::timeout(TRY, trying).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(Unloaded::Misfit(why)))) => {
                Err(UnusablePlugin::new(UnusableCode::PluginUnusable, why).into())
            }
            Ok(Ok(Err(Unloaded::Failed(why)))) => Err(not_now(why)),
            Ok(Err(error)) => Err(not_now(format!("{error:#}"))),
            Err(_) => Err(not_now(format!("no attempt process became free within {TRY:?}"))),
        }
    }

    /// A runner that has loaded the code of `attempt`, or the outcome of the attempt if there is
    /// none.
    async fn ready(&self, attempt: &Attempt, stop: &StopSignal) -> Result<Taken, Outcome> {
        let artefact = self.code_cache.of_attempt(attempt, stop).await?;
        let key = CodeKey::of(attempt);
        let refused = |code, message: String, transient| {
            Err(Outcome::Refused { error: AttemptError::new(code, message), transient })
        };
        match unless_stopped(stop, self.loaded(attempt, key, &artefact)).await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(Unloaded::Misfit(why))) => refused(UNUSABLE, why, false),
            Ok(Err(Unloaded::Failed(why))) => {
                let message = format!("an attempt process did not load the plugin: {why}");
                refused("process_unavailable", message, true)
            }
            Err(reason) => Err(ending::stopped(reason)),
        }
    }

    async fn loaded(
        &self,
        attempt: &Attempt,
        key: CodeKey,
        artefact: &Artefact,
    ) -> Result<Taken, Unloaded> {
        let mut failure = Unloaded::Failed(String::new());
        // Twice, because the first runner may have just died while it was idle, which costs no attempt.
        for _ in 0..2 {
            let taken = self.pool.take(Owner::of(attempt), key).await;
            let mut taken = taken.map_err(|error| Unloaded::Failed(format!("{error:#}")))?;
            match taken.runner.load(key, artefact.0.clone()).await {
                Ok(()) => return Ok(taken),
                Err(misfit @ Unloaded::Misfit(_)) => return Err(misfit),
                Err(failed) => failure = failed,
            }
        }
        Err(failure)
    }
}
