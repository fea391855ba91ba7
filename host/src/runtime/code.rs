//! Plugins' code, from their bytes to the form in which attempts use it.
//!
//! Owns the way there (memory, disk, compiler); not the bytes, which the registry keeps.
//! Invariants: code is compiled in a separate process, and only a few plugins at a time; a plugin
//! that no attempt can ever run is distinguished from a temporary failure of the host.
//!
//! | module | owns |
//! |---|---|
//! | [`key`] | which code an attempt needs |
//! | [`source`] | the disk, the compiler, and the permits to compile |
//! | [`compile`] | the process that compiles |
//! | [`ready`], [`unready`] | code that can be used, or why there is none |
//! | [`weight`] | how much memory code takes |

mod compile;
pub(super) mod key;
mod ready;
mod source;
mod unready;
mod weight;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::Outcome;
use jobwright_core::plugin::Digest;
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::{StopSignal, Unprepared};
use jobwright_core::tenant::TenantName;
use tokio::runtime::Handle;

pub(super) use self::compile::compile_if_requested;
use self::key::CodeKey;
pub(super) use self::ready::Ready;
use self::source::{ReadyCode, Request, Source, SourceParts, busy};
pub(super) use self::unready::{UNUSABLE, Unready};
use super::config::RuntimeConfig;
use super::ending;
use super::engine::Engines;
use super::machine::Machine;
use super::meter::unless_stopped;
use super::profile::Profile;
use super::single_flight::{Flight, OwnedKey, SingleFlight};
use crate::registry::compiled::CompiledCache;
use crate::registry::compiler::Compiler;
use crate::shares::Shares;
use crate::shares::table::CODE_WAITERS;

/// How long every attempt waits for its code: compiled code is loaded by then.
const BRIEFLY: Duration = Duration::from_secs(2);

/// The part of all slots whose attempts may wait for longer, until their code is compiled. The others
/// release their jobs and try again later, so that jobs whose code is ready find a slot.
const WAITING_PART: usize = 8;

/// The cache of code, and the source of code that is not in it.
pub(super) struct CodeCache<R> {
    ready: ReadyCode<R>,
    source: Arc<Source>,
    threads: Handle,
    /// One for each attempt that may wait long for its code.
    waiting: Shares,
}

impl<R: Ready> CodeCache<R> {
    /// Code for `engines`, made on `threads`.
    ///
    /// # Errors
    /// If the cache directory cannot be used, or the compiler's program cannot be determined.
    pub(super) fn open(
        config: &RuntimeConfig,
        engines: Engines,
        registry: Arc<dyn PluginRegistry>,
        threads: &Handle,
    ) -> anyhow::Result<Self> {
        let open =
            |directory| CompiledCache::open(directory, config.cache_bytes, config.cache_free_bytes);
        let disk = config.cache_dir.clone().map(open).transpose()?;
        // Half of the guests' threads, since compiling shares the processors with them; no more than there
        // are attempts that could wait for one.
        let compilations = (config.guest_threads / 2).min(config.slots).max(1);
        let compiler = |limits| Compiler::new(limits, config.guest_threads / compilations);
        let compiler = config.compile_limits.map(compiler).transpose()?;
        let parts = SourceParts { engines, registry, disk, compiler, compilations };
        let waiting = ((config.slots / WAITING_PART) as u64).max(2);
        Ok(Self {
            ready: SingleFlight::new(config.code_cache_bytes),
            source: Arc::new(Source::new(parts)),
            threads: threads.clone(),
            waiting: Shares::sized(&CODE_WAITERS, waiting),
        })
    }

    /// Makes the code of an upload ready.
    ///
    /// # Errors
    /// See [`Runtime::prepare`](jobwright_core::Runtime::prepare).
    pub(super) async fn prepare(
        &self,
        tenant: &TenantName,
        digest: Digest,
        wasm: Bytes,
    ) -> Result<Arc<R>, Unprepared> {
        let limit = self.source.longest();
        let making = self.get(CodeKey { digest, profile: Profile::Fuel }, tenant, Some(wasm));
        // Compiling continues, and a later request finds the code.
        let made = tokio::time::timeout(limit, making).await.unwrap_or_else(|_| Err(busy(limit)));
        made.map_err(|unready| {
            let unprepared = unready.into_unprepared();
            if let Unprepared::NotNow(message) = &unprepared {
                tracing::warn!(%digest, message, "cannot compile a plugin at the moment");
            }
            unprepared
        })
    }

    /// The code for `attempt`, or the outcome of the attempt if there is none.
    pub(super) async fn of_attempt(
        &self,
        attempt: &Attempt,
        stop: &StopSignal,
    ) -> Result<Arc<R>, Outcome> {
        let key = CodeKey::of(attempt);
        if let Some(code) = self.ready.ready(&key) {
            return Ok(code);
        }
        let tenant = &attempt.job.spec.tenant;
        let making = self.get(key, tenant, None);
        let waiting = async {
            if let Ok(made) = tokio::time::timeout(BRIEFLY, making.clone()).await {
                return made;
            }
            let _place = self.waiting.of(tenant).try_acquire(1u64).map_err(|_| {
                Unready::transient(
                    "its code is still being compiled, and too many other attempts wait for code",
                )
            })?;
            making.await
        };
        match unless_stopped(stop, waiting).await {
            Ok(Ok(code)) => Ok(code),
            Ok(Err(unready)) => Err(unready.into_outcome()),
            Err(reason) => Err(ending::stopped(reason)),
        }
    }

    /// The code, made ready from `wasm`, otherwise from the bytes that the registry keeps.
    fn get(
        &self,
        key: CodeKey,
        tenant: &TenantName,
        wasm: Option<Bytes>,
    ) -> Flight<Arc<R>, Unready> {
        let request = Request { ready: self.ready.clone(), key, tenant: tenant.clone() };
        let source = self.source.clone();
        let place = OwnedKey { owner: tenant.clone(), key };
        self.ready.get(place, &self.threads, || source.make(request, wasm))
    }

    /// The engine that was made at start.
    pub(super) fn first_machine(&self) -> &Machine {
        self.source.first_machine()
    }
}
