//! Plugins' code, from their bytes to what an attempt is made of.
//!
//! Owns the way there (memory, disk, compiler); not the bytes, which the registry keeps. Invariants:
//! code is compiled on a thread beside the guests' and never more than a few at a time; what fails is
//! told apart: a plugin that no attempt can ever run, or a host that could not just now.

use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::plugin::Digest;
use jobwright_core::registry::{PluginRegistry, RegistryError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmparser::Parser;
use wasmtime::Engine;

use super::abi::{Misfit, Prepared};
use super::debug_info;
use super::engine::{Engines, Machine, Profile};
use super::flights::{Broken, Flight, Flights};
use crate::registry::compiled::{self, CodeName, Compiled, CompiledCache};

/// Why there is no code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unready {
    pub(super) message: String,
    /// Whether another try may go better.
    pub(super) transient: bool,
}

impl Unready {
    fn unusable(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: false }
    }

    fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: true }
    }
}

impl From<Broken> for Unready {
    fn from(_: Broken) -> Self {
        Self::transient("the host failed while it made the plugin's code ready")
    }
}

impl From<Misfit> for Unready {
    fn from(Misfit(message): Misfit) -> Self {
        Self::unusable(message)
    }
}

type Key = (Digest, Profile);

/// All code that is ready, and the way to more.
pub(super) struct Codes {
    ready: Flights<Key, Arc<Prepared>, Unready>,
    source: Arc<Source>,
    threads: Handle,
}

/// Where code comes from.
struct Source {
    engines: Engines,
    registry: Arc<dyn PluginRegistry>,
    disk: Option<CompiledCache>,
    compiling: Semaphore,
}

impl Codes {
    /// `compilations` at one time, on `threads`; at most `most_bytes` of code in memory.
    pub(super) fn new(
        engines: Engines,
        registry: Arc<dyn PluginRegistry>,
        disk: Option<CompiledCache>,
        bounds: Bounds,
    ) -> Self {
        let compiling = Semaphore::new(bounds.compilations.max(1));
        let source = Arc::new(Source { engines, registry, disk, compiling });
        Self { ready: Flights::new(bounds.most_bytes), source, threads: bounds.threads }
    }

    /// The code, if it is ready.
    pub(super) fn ready(&self, digest: Digest, profile: Profile) -> Option<Arc<Prepared>> {
        self.ready.ready(&(digest, profile))
    }

    /// The code, made ready from `wasm`, else from what the registry keeps.
    pub(super) fn get(
        &self,
        digest: Digest,
        profile: Profile,
        wasm: Option<Bytes>,
    ) -> Flight<Arc<Prepared>, Unready> {
        let source = self.source.clone();
        self.ready.get((digest, profile), &self.threads, || source.make(digest, profile, wasm))
    }

    /// The engine that always is.
    pub(super) fn first_machine(&self) -> &Machine {
        self.source.engines.first()
    }
}

/// What [`Codes`] may take.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Where code is made.
    pub(super) threads: Handle,
    /// How much is compiled at one time.
    pub(super) compilations: usize,
    /// How much ready code is kept.
    pub(super) most_bytes: u64,
}

impl Source {
    async fn make(
        self: Arc<Self>,
        digest: Digest,
        profile: Profile,
        wasm: Option<Bytes>,
    ) -> Result<(Arc<Prepared>, u64), Unready> {
        let source = self.clone();
        let machine = beside(move || source.engines.machine(profile))
            .await?
            .map_err(|error| Unready::transient(format!("{error:#}")))?;
        let name = CodeName::new(&digest, profile.word(), &machine.engine);
        let (compiled, bytes) =
            match self.clone().load(name.clone(), machine.engine.clone()).await? {
                Some(kept) => kept,
                None => {
                    let wasm = match wasm {
                        Some(wasm) => wasm,
                        None => self.fetch(&digest).await?,
                    };
                    self.compile(name, machine.engine.clone(), wasm).await?
                }
            };
        Ok((Arc::new(Prepared::new(&machine, &compiled)?), bytes))
    }

    async fn load(
        self: Arc<Self>,
        name: CodeName,
        engine: Engine,
    ) -> Result<Option<(Compiled, u64)>, Unready> {
        if self.disk.is_none() {
            return Ok(None);
        }
        beside(move || self.disk.as_ref().and_then(|disk| disk.load(&name, &engine))).await
    }

    async fn fetch(&self, digest: &Digest) -> Result<Bytes, Unready> {
        match self.registry.wasm(digest).await {
            Ok(Some(wasm)) => Ok(wasm),
            Ok(None) => Err(Unready::unusable(format!("the plugin's bytes {digest} are missing"))),
            Err(error @ RegistryError::Corrupt { .. }) => Err(Unready::unusable(error.to_string())),
            Err(error) => Err(Unready::transient(error.to_string())),
        }
    }

    async fn compile(
        self: Arc<Self>,
        name: CodeName,
        engine: Engine,
        wasm: Bytes,
    ) -> Result<(Compiled, u64), Unready> {
        let source = self.clone();
        let _turn = self.compiling.acquire().await.map_err(|_| Broken)?;
        beside(move || {
            let unusable = |error| Unready::unusable(format!("it does not compile: {error:#}"));
            let artefact = compile(&engine, &debug_info::bounded(&wasm)).map_err(unusable)?;
            if let Some(disk) = &source.disk
                && let Err(error) = disk.store(&name, &artefact)
            {
                tracing::warn!(%error, "cannot keep compiled code: it will be compiled again");
            }
            let compiled = compiled::code(&engine, &artefact).map_err(unusable)?;
            Ok((compiled, artefact.len() as u64))
        })
        .await?
    }
}

/// Machine code for `wasm`, as bytes. Takes long and much memory for large or hostile input; it
/// needs nothing but its arguments, so that another process can do it.
fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    if Parser::is_component(wasm) {
        engine.precompile_component(wasm)
    } else {
        engine.precompile_module(wasm)
    }
}

/// Does long work on a thread of its own.
async fn beside<A: Send + 'static>(
    work: impl FnOnce() -> A + Send + 'static,
) -> Result<A, Unready> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Unready::from(Broken))
}
