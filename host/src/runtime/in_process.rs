//! Runs attempts in this process, on the threads for guests.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::limits::Limits;
use jobwright_core::outcome::millis;
use jobwright_core::plugin::{Digest, Inspection};
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::{Ended, Runtime, StopSignal, Unprepared, UnusablePlugin};
use jobwright_core::tenant::TenantName;
use tokio::sync::Semaphore;

use super::abi::prepared::Prepared;
use super::code::CodeCache;
use super::config::RuntimeConfig;
use super::engine::{Engines, Shape};
use super::epoch::Ticker;
use super::guest::Guest;
use super::guests::Guests;
use super::inspect::{self, Offer};
use super::meter::unless_stopped;
use super::{attempt, ending, receipt};
use crate::clock::Stopwatch;

/// Permits in addition to the slots, for attempts that were dropped and whose guest has not yielded
/// yet.
const SPARE_ATTEMPTS: usize = 8;

/// Runs attempts with wasmtime in this process. Dropping it stops every guest, without waiting.
pub struct InProcessRuntime {
    host: Arc<Host>,
    guests: Guests,
    ceiling: Limits,
    offer: Offer,
}

/// The state that all attempts share.
struct Host {
    code_cache: CodeCache<Prepared>,
    ticker: Arc<Ticker>,
    /// A permit for each attempt that fits the pool.
    room: Semaphore,
}

impl InProcessRuntime {
    /// Makes the engine and starts the threads.
    ///
    /// # Errors
    /// With a reason that an operator can act on, if this machine cannot run guests or the cache directory
    /// cannot be used.
    pub fn new(config: RuntimeConfig, registry: Arc<dyn PluginRegistry>) -> anyhow::Result<Self> {
        let attempts = config.slots.saturating_add(SPARE_ATTEMPTS);
        let ticker = Arc::new(Ticker::start()?);
        let guests = Guests::start(config.guest_threads)?;
        let shape = Shape { attempts, config: config.engines(), asks_for_pages: true };
        let engines = Engines::new(shape, ticker.clone())?;
        let code_cache = CodeCache::open(&config, engines, registry, guests.handle())?;
        let offer = Offer::new(&code_cache.first_machine().modules, Guest::idle());
        let host = Arc::new(Host { code_cache, ticker, room: Semaphore::new(attempts) });
        Ok(Self { host, guests, ceiling: config.ceiling, offer })
    }
}

impl std::fmt::Debug for InProcessRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcessRuntime").field("guests", &self.guests).finish_non_exhaustive()
    }
}

#[async_trait]
impl Runtime for InProcessRuntime {
    fn inspect(&self, wasm: &[u8]) -> Result<Inspection, UnusablePlugin> {
        inspect::inspect(wasm, &self.offer, &self.ceiling)
    }

    async fn prepare(
        &self,
        tenant: &TenantName,
        digest: Digest,
        wasm: Bytes,
    ) -> Result<(), Unprepared> {
        self.host.code_cache.prepare(tenant, digest, wasm).await.map(drop)
    }

    async fn run(&self, attempt: Attempt, stop: StopSignal) -> Ended {
        let (payload_bytes, log) = (attempt.payload.bytes.len() as u64, attempt.log.clone());
        let host = self.host.clone();
        receipt::complete(self.guests.run(host.attempt(attempt, stop)).await, payload_bytes, &log)
    }
}

impl Host {
    async fn attempt(self: Arc<Self>, attempt: Attempt, stop: StopSignal) -> Ended {
        let watch = Stopwatch::start();
        let ready = self.code_cache.of_attempt(&attempt, &stop).await;
        let compile_ms = millis(watch.elapsed());
        let mut ended = match ready {
            Ok(code) => self.run(&code, &attempt, stop).await,
            Err(outcome) => receipt::without_usage(outcome),
        };
        ended.usage.compile_ms = compile_ms;
        ended
    }

    async fn run(&self, code: &Prepared, attempt: &Attempt, stop: StopSignal) -> Ended {
        // Held to the end of the attempt. The semaphore is never closed, so acquiring does not
        // fail.
        let _room = match self.room.try_acquire() {
            Ok(room) => Ok(room),
            Err(_) => match unless_stopped(&stop, self.room.acquire()).await {
                Ok(room) => room,
                Err(reason) => return receipt::without_usage(ending::stopped(reason)),
            },
        };
        let _watch = self.ticker.watch();
        attempt::run(code, attempt, stop).await
    }
}
