//! The source of code: the disk, or the compiler. Invariant: the number of concurrent compilations
//! is bounded by permits, and no tenant takes all of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jobwright_core::plugin::Digest;
use jobwright_core::registry::{PluginRegistry, RegistryError};
use jobwright_core::tenant::TenantName;

use super::super::engine::Engines;
use super::super::machine::Machine;
use super::super::single_flight::{Broken, Made, SingleFlight};
use super::compile::compile;
use super::key::CodeKey;
use super::ready::Ready;
use super::unready::{Unready, Why};
use super::weight::weight;
use crate::registry::compiled::{CodeName, CompiledCache, Loaded};
use crate::registry::compiler::{Compiler, Failure};
use crate::shares::table::{COMPILATIONS, LONG_COMPILATIONS, SHORT_COMPILATIONS};
use crate::shares::{Permit, Shares};

/// The part of the time to compile that a short permit allows: 5 s of 120, in which most plugins are done.
const SHORT_PART: u32 = 24;

/// The time for everything except compiling: reading, starting a process, loading.
const OVERHEAD: Duration = Duration::from_secs(5);

/// The code that is ready or being made, by tenant: each making waits for a permit of its tenant.
pub(super) type ReadyCode<R> = SingleFlight<TenantName, CodeKey, Arc<R>, Unready>;

/// The source of code.
pub(super) struct Source {
    engines: Engines,
    registry: Arc<dyn PluginRegistry>,
    disk: Option<CompiledCache>,
    compiler: Option<Compiler>,
    /// Permits to compile for attempts.
    permits: Shares,
    /// Permits to compile uploads, which delay no attempt: each upload takes a short permit first, and a
    /// long one if that was not enough. So most wait only for short ones, even while others take minutes.
    short_permits: Shares,
    long_permits: Shares,
}

/// The parts of a [`Source`].
pub(super) struct SourceParts {
    pub(super) engines: Engines,
    pub(super) registry: Arc<dyn PluginRegistry>,
    pub(super) disk: Option<CompiledCache>,
    /// Compiles in separate processes; `None` compiles in this one.
    pub(super) compiler: Option<Compiler>,
    /// The maximum of compilations at one time, of uploads and for attempts each.
    pub(super) compilations: usize,
}

/// A request for code, with the cache, where another tenant's request may have put the code while
/// this one waited for a permit.
pub(super) struct Request<R> {
    pub(super) ready: ReadyCode<R>,
    pub(super) key: CodeKey,
    pub(super) tenant: TenantName,
}

/// The code to make.
#[derive(Clone)]
struct Wanted {
    name: CodeName,
    machine: Arc<Machine>,
}

impl Source {
    pub(super) fn new(parts: SourceParts) -> Self {
        // At least two, so that a tenant that has one leaves one to others.
        let permits = |resource| Shares::sized(resource, (parts.compilations as u64).max(2));
        Self {
            permits: permits(&COMPILATIONS),
            short_permits: permits(&SHORT_COMPILATIONS),
            long_permits: permits(&LONG_COMPILATIONS),
            engines: parts.engines,
            registry: parts.registry,
            disk: parts.disk,
            compiler: parts.compiler,
        }
    }

    /// The engine that was made at start.
    pub(super) fn first_machine(&self) -> &Machine {
        self.engines.first()
    }

    /// How long making code ready takes at most, apart from waiting for others.
    pub(super) fn longest(&self) -> Duration {
        let whole = self.compile_limit();
        whole.saturating_add(whole / SHORT_PART).saturating_add(OVERHEAD)
    }

    /// Makes code ready, from `wasm`, otherwise from the bytes that the registry keeps.
    pub(super) async fn make<R: Ready>(
        self: Arc<Self>,
        request: Request<R>,
        wasm: Option<Bytes>,
    ) -> Result<Made<Arc<R>>, Unready> {
        let CodeKey { digest, profile } = request.key;
        let source = self.clone();
        let machine = blocking(move || source.engines.machine(profile))
            .await?
            .map_err(|error| Unready::transient(format!("{error:#}")))?;
        let name = CodeName::new(&digest, profile.word(), &machine.engine);
        let wanted = Wanted { name, machine };
        if let Some(kept) = self.clone().kept(wanted.clone()).await? {
            return Ok(kept);
        }
        match wasm {
            Some(wasm) => self.compile_upload(&request, wanted, wasm).await,
            None => {
                let _permit = self.permit(&self.permits, &request.tenant).await?;
                if let Some(made) = self.made(&request, &wanted).await? {
                    return Ok(made);
                }
                let wasm = self.fetch(&digest).await?;
                self.compile(wanted, wasm, self.compile_limit()).await
            }
        }
    }

    /// The code, if another tenant's request has made it while this one waited for a permit.
    async fn made<R: Ready>(
        self: &Arc<Self>,
        request: &Request<R>,
        wanted: &Wanted,
    ) -> Result<Option<Made<Arc<R>>>, Unready> {
        match request.ready.made(&request.key) {
            None => self.clone().kept(wanted.clone()).await,
            made => Ok(made),
        }
    }

    /// The code, if it is on disk and can be used.
    async fn kept<R: Ready>(
        self: Arc<Self>,
        wanted: Wanted,
    ) -> Result<Option<Made<Arc<R>>>, Unready> {
        if self.disk.is_none() {
            return Ok(None);
        }
        blocking(move || {
            let loaded = self.disk.as_ref()?.load(&wanted.name)?;
            let ready = ready(&wanted, loaded).inspect_err(|Unready { message, .. }| {
                tracing::warn!(message, "compiled code cannot be used: compiling again");
            });
            ready.ok()
        })
        .await
    }

    /// Compiles with a short permit first, and a long one if that was not enough.
    async fn compile_upload<R: Ready>(
        self: &Arc<Self>,
        request: &Request<R>,
        wanted: Wanted,
        wasm: Bytes,
    ) -> Result<Made<Arc<R>>, Unready> {
        if self.compiler.is_some() {
            let _permit = self.permit(&self.short_permits, &request.tenant).await?;
            if let Some(made) = self.made(request, &wanted).await? {
                return Ok(made);
            }
            let limit = self.compile_limit() / SHORT_PART;
            match self.compile(wanted.clone(), wasm.clone(), limit).await {
                Err(Unready { why: Why::TooLong, .. }) => {}
                done => return done,
            }
        }
        let _permit = self.permit(&self.long_permits, &request.tenant).await?;
        match self.made(request, &wanted).await? {
            Some(made) => Ok(made),
            None => self.compile(wanted, wasm, self.compile_limit()).await,
        }
    }

    async fn fetch(&self, digest: &Digest) -> Result<Bytes, Unready> {
        match self.registry.wasm(digest).await {
            Ok(Some(wasm)) => Ok(wasm),
            Ok(None) => Err(Unready::unusable(format!(
                "the plugin's bytes with the digest {digest} are missing in the registry"
            ))),
            Err(error @ RegistryError::Corrupt { .. }) => Err(Unready::unusable(error.to_string())),
            Err(error) => Err(Unready::transient(error.to_string())),
        }
    }

    async fn compile<R: Ready>(
        self: &Arc<Self>,
        wanted: Wanted,
        wasm: Bytes,
        limit: Duration,
    ) -> Result<Made<Arc<R>>, Unready> {
        let source = self.clone();
        blocking(move || {
            let artefact = source.artefact(&wanted.machine, &wasm, limit)?;
            let weight = weight(&wasm, &artefact);
            if let Some(disk) = &source.disk
                && let Err(error) = disk.store(&wanted.name, &artefact, weight)
            {
                tracing::warn!(%error, "cannot cache compiled code: it will be compiled again");
            }
            ready(&wanted, Loaded { artefact, weight })
        })
        .await?
    }

    /// The time that compiling may take.
    fn compile_limit(&self) -> Duration {
        self.compiler.as_ref().map_or(Duration::MAX, |compiler| compiler.limits.timeout)
    }

    /// A permit to compile, if one is free within the time that compiling may take.
    async fn permit(&self, permits: &Shares, tenant: &TenantName) -> Result<Permit, Unready> {
        let limit = self.compile_limit();
        let permit = tokio::time::timeout(limit, permits.of(tenant).acquire()).await;
        permit.map_err(|_| busy(limit))
    }

    /// The code of `wasm`, as bytes. Blocks, for no longer than `limit` if a process compiles.
    fn artefact(&self, on: &Machine, wasm: &[u8], limit: Duration) -> Result<Vec<u8>, Unready> {
        match &self.compiler {
            Some(compiler) => Ok(compiler.compile(on.target.word(), wasm, limit)?),
            None => compile(&on.engine, wasm)
                .map_err(|error| Failure::Rejected(format!("{error:#}")).into()),
        }
    }
}

/// No permit to compile became free within `waited`.
pub(super) fn busy(waited: Duration) -> Unready {
    let seconds = waited.as_secs();
    Unready::transient(format!("no compile slot became free within {seconds} s; try again later"))
}

fn ready<R: Ready>(wanted: &Wanted, loaded: Loaded) -> Result<Made<Arc<R>>, Unready> {
    let Loaded { artefact, weight } = loaded;
    Ok(Made { value: Arc::new(R::ready(&wanted.machine, artefact)?), bytes: weight })
}

/// Runs blocking work on a thread for it.
async fn blocking<A: Send + 'static>(
    work: impl FnOnce() -> A + Send + 'static,
) -> Result<A, Unready> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Unready::from(Broken))
}
