//! Plugins' code, from their bytes to what an attempt is made of.
//!
//! Owns the way there (memory, disk, compiler); not the bytes, which the registry keeps. Invariants:
//! code is compiled in a process of its own, never more than a few at a time; what fails is told
//! apart: a plugin that no attempt can ever run, or a host that could not just now.

mod weight;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::{AttemptError, Outcome};
use jobwright_core::plugin::Digest;
use jobwright_core::registry::{PluginRegistry, RegistryError};
use jobwright_core::runtime::{StopSignal, Unprepared, Unusable};
use jobwright_core::tenant::TenantName;
use tokio::runtime::Handle;
use wasmparser::Parser;
use wasmtime::Engine;

use self::weight::weight;
use super::abi::{Misfit, Prepared};
use super::engine::{self, Engines, Machine, Profile, Target};
use super::flights::{Broken, Flight, Flights};
use super::{debug_info, ending, signals, unless_stopped};
use crate::registry::compiled::{self, CodeName, CompiledCache, Loaded};
use crate::registry::compiler::{Compiler, Failure, Order};
use crate::shares::table::{CODE_WAITERS, COMPILATIONS, LONG_COMPILATIONS, SHORT_COMPILATIONS};
use crate::shares::{Shares, Taken};

/// Why there is no code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unready {
    pub(super) message: String,
    pub(super) why: Why,
}

/// What is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The plugin: no attempt can ever run it.
    Plugin,
    /// Either: compiling it took too long by the clock.
    TooLong,
    /// The host: another try may go better.
    Host,
}

impl Unready {
    fn new(why: Why, message: impl Into<String>) -> Self {
        Self { message: message.into(), why }
    }

    fn unusable(message: impl Into<String>) -> Self {
        Self::new(Why::Plugin, message)
    }

    fn transient(message: impl Into<String>) -> Self {
        Self::new(Why::Host, message)
    }
}

impl From<Broken> for Unready {
    fn from(_: Broken) -> Self {
        Self::transient("the host failed while it made the plugin's code ready")
    }
}

impl From<Failure> for Unready {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected(message) => Self::unusable(format!("it does not compile: {message}")),
            Failure::TooLong(message) => Self::new(Why::TooLong, message),
            Failure::Broken(message) => Self::transient(message),
        }
    }
}

impl From<Misfit> for Unready {
    fn from(Misfit(message): Misfit) -> Self {
        Self::unusable(message)
    }
}

/// Which code: of a plugin, compiled in one of two ways.
pub(super) type Key = (Digest, Profile);

/// The code that an attempt needs.
pub(super) fn key(attempt: &Attempt) -> Key {
    (attempt.job.spec.digest, Profile::of(attempt.limits.fuel))
}

/// What attempts are made of, in one way or another.
pub(super) trait Ready: Sized + Send + Sync + 'static {
    /// Made of what the compiler wrote.
    ///
    /// # Errors
    /// If that cannot be used, as far as this finds out.
    fn ready(machine: &Machine, artefact: Vec<u8>) -> Result<Self, Unready>;
}

impl Ready for Prepared {
    fn ready(machine: &Machine, artefact: Vec<u8>) -> Result<Self, Unready> {
        let compiled = compiled::code(&machine.engine, &artefact)
            .map_err(|error| Unready::unusable(format!("it does not load: {error:#}")))?;
        Ok(Self::new(machine, &compiled)?)
    }
}

/// The code that is ready, and what is being made, by tenant: a making waits for a turn of its tenant.
type ReadyCodes<R> = Flights<TenantName, Key, Arc<R>, Unready>;

/// All code that is ready, and the way to more.
pub(super) struct Codes<R> {
    ready: ReadyCodes<R>,
    source: Arc<Source>,
    threads: Handle,
    /// One for each attempt that may wait long for its code.
    waiting: Shares,
}

/// Where code comes from.
struct Source {
    engines: Engines,
    registry: Arc<dyn PluginRegistry>,
    disk: Option<CompiledCache>,
    compiler: Option<Compiler>,
    /// Of attempts.
    turns: Shares,
    /// Of uploads, which hold up no attempt: each has a short turn first, and one that it was not
    /// enough for a long one. So most wait only for short turns, whatever takes minutes.
    short_turns: Shares,
    long_turns: Shares,
}

/// The part of the time to compile that a short turn has: 5 s of 120, in which most plugins are done.
const SHORT_PART: u32 = 24;

/// What else it takes to make code ready: reading, starting a process, loading.
const BESIDE: Duration = Duration::from_secs(5);

/// How long every attempt waits for its code: what is compiled already is loaded by then.
const BRIEFLY: Duration = Duration::from_secs(2);

/// The part of all slots whose attempts may wait for longer, until their code is compiled. The others
/// give their jobs back and try again later, so that those that are ready find a slot.
const WAITING_PART: usize = 8;

/// Whose code is to be made, and where it may be by the time that its turn comes.
struct Asked<R> {
    ready: ReadyCodes<R>,
    key: Key,
    tenant: TenantName,
}

/// Code that is to be made.
#[derive(Clone)]
struct Wanted {
    name: CodeName,
    machine: Arc<Machine>,
}

impl<R: Ready> Codes<R> {
    /// `compilations` at one time, on `threads`; at most `most_bytes` of code in memory.
    pub(super) fn new(
        engines: Engines,
        registry: Arc<dyn PluginRegistry>,
        disk: Option<CompiledCache>,
        bounds: Bounds,
    ) -> Self {
        // Of two, one tenant has one: another one gets the other.
        let turns = |resource| Shares::sized(resource, (bounds.compilations as u64).max(2));
        let source = Arc::new(Source {
            engines,
            registry,
            disk,
            compiler: bounds.compiler,
            turns: turns(&COMPILATIONS),
            short_turns: turns(&SHORT_COMPILATIONS),
            long_turns: turns(&LONG_COMPILATIONS),
        });
        let waiting = ((bounds.slots / WAITING_PART) as u64).max(2);
        let waiting = Shares::sized(&CODE_WAITERS, waiting);
        Self { ready: Flights::new(bounds.most_bytes), source, threads: bounds.threads, waiting }
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
        let patience = self.patience();
        let making = self.get((digest, Profile::Fuel), tenant, Some(wasm));
        let late = |_| {
            // It goes on, and who asks again finds it done.
            let seconds = patience.as_secs();
            let message = format!("others were compiled for {seconds} s: try again later");
            Err(Unready { message, why: Why::Host })
        };
        match tokio::time::timeout(patience, making).await.unwrap_or_else(late) {
            Ok(code) => Ok(code),
            Err(Unready { message, why: Why::TooLong }) => {
                Err(Unusable::new("compile_timeout", message).into())
            }
            Err(Unready { message, why: Why::Plugin }) => {
                Err(Unusable::new(UNUSABLE, message).into())
            }
            Err(Unready { message, why: Why::Host }) => {
                tracing::warn!(%digest, message, "a plugin could not be compiled just now");
                Err(Unprepared::NotNow(message))
            }
        }
    }

    /// The code for `attempt`, or how the attempt ends without.
    pub(super) async fn of_attempt(
        &self,
        attempt: &Attempt,
        stop: &mut StopSignal,
    ) -> Result<Arc<R>, Outcome> {
        let key = key(attempt);
        if let Some(code) = self.ready.ready(&key) {
            return Ok(code);
        }
        let tenant = &attempt.job.spec.tenant;
        let making = self.get(key, tenant, None);
        let waiting = async {
            if let Ok(made) = tokio::time::timeout(BRIEFLY, making.clone()).await {
                return made;
            }
            let _place = self.waiting.of(tenant).try_take(1u64).map_err(|_| Unready {
                message: "its code is still being compiled, and others wait for theirs".to_owned(),
                why: Why::Host,
            })?;
            making.await
        };
        match unless_stopped(stop, waiting).await {
            Ok(Ok(code)) => Ok(code),
            Ok(Err(unready)) => Err(refused(unready)),
            Err(reason) => Err(ending::stopped(reason)),
        }
    }

    /// The code, made ready from `wasm`, else from what the registry keeps.
    fn get(&self, key: Key, tenant: &TenantName, wasm: Option<Bytes>) -> Flight<Arc<R>, Unready> {
        let asked = Asked { ready: self.ready.clone(), key, tenant: tenant.clone() };
        let source = self.source.clone();
        self.ready.get((tenant.clone(), key), &self.threads, || source.make(asked, wasm))
    }

    /// How long making code ready takes at most, for who waits for no others.
    fn patience(&self) -> Duration {
        let whole = self.source.patience();
        whole.saturating_add(whole / SHORT_PART).saturating_add(BESIDE)
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
    /// Attempts at one time.
    pub(super) slots: usize,
    /// What compiles; this process itself if there is none.
    pub(super) compiler: Option<Compiler>,
    /// How much is compiled at one time, of uploads and for attempts each.
    pub(super) compilations: usize,
    /// How much ready code is kept.
    pub(super) most_bytes: u64,
}

impl Source {
    async fn make<R: Ready>(
        self: Arc<Self>,
        asked: Asked<R>,
        wasm: Option<Bytes>,
    ) -> Result<(Arc<R>, u64), Unready> {
        let (digest, profile) = asked.key;
        let source = self.clone();
        let machine = beside(move || source.engines.machine(profile))
            .await?
            .map_err(|error| Unready::transient(format!("{error:#}")))?;
        let name = CodeName::new(&digest, profile.word(), &machine.engine);
        let wanted = Wanted { name, machine };
        if let Some(kept) = self.clone().kept(wanted.clone()).await? {
            return Ok(kept);
        }
        match wasm {
            Some(wasm) => self.compile_upload(&asked, wanted, wasm).await,
            None => {
                let _turn = self.turn(&self.turns, &asked.tenant).await?;
                if let Some(made) = self.made(&asked, &wanted).await? {
                    return Ok(made);
                }
                let wasm = self.fetch(&digest).await?;
                self.compile(wanted, wasm, self.patience()).await
            }
        }
    }

    /// The code, if another tenant's turn has made it while this one's was waited for.
    async fn made<R: Ready>(
        self: &Arc<Self>,
        asked: &Asked<R>,
        wanted: &Wanted,
    ) -> Result<Option<(Arc<R>, u64)>, Unready> {
        match asked.ready.made(&asked.key) {
            None => self.clone().kept(wanted.clone()).await,
            made => Ok(made),
        }
    }

    /// The code, if it is on disk and can be used.
    async fn kept<R: Ready>(
        self: Arc<Self>,
        wanted: Wanted,
    ) -> Result<Option<(Arc<R>, u64)>, Unready> {
        if self.disk.is_none() {
            return Ok(None);
        }
        beside(move || {
            let loaded = self.disk.as_ref()?.load(&wanted.name)?;
            let ready = ready(&wanted, loaded).inspect_err(|Unready { message, .. }| {
                tracing::warn!(message, "compiled code cannot be used: compiling again");
            });
            ready.ok()
        })
        .await
    }

    /// See [`Self::short_turns`].
    async fn compile_upload<R: Ready>(
        self: &Arc<Self>,
        asked: &Asked<R>,
        wanted: Wanted,
        wasm: Bytes,
    ) -> Result<(Arc<R>, u64), Unready> {
        if self.compiler.is_some() {
            let _turn = self.turn(&self.short_turns, &asked.tenant).await?;
            if let Some(made) = self.made(asked, &wanted).await? {
                return Ok(made);
            }
            let limit = self.patience() / SHORT_PART;
            match self.compile(wanted.clone(), wasm.clone(), limit).await {
                Err(Unready { why: Why::TooLong, .. }) => {}
                done => return done,
            }
        }
        let _turn = self.turn(&self.long_turns, &asked.tenant).await?;
        match self.made(asked, &wanted).await? {
            Some(made) => Ok(made),
            None => self.compile(wanted, wasm, self.patience()).await,
        }
    }

    async fn fetch(&self, digest: &Digest) -> Result<Bytes, Unready> {
        match self.registry.wasm(digest).await {
            Ok(Some(wasm)) => Ok(wasm),
            Ok(None) => Err(Unready::unusable(format!("the plugin's bytes {digest} are missing"))),
            Err(error @ RegistryError::Corrupt { .. }) => Err(Unready::unusable(error.to_string())),
            Err(error) => Err(Unready::transient(error.to_string())),
        }
    }

    async fn compile<R: Ready>(
        self: &Arc<Self>,
        wanted: Wanted,
        wasm: Bytes,
        limit: Duration,
    ) -> Result<(Arc<R>, u64), Unready> {
        let source = self.clone();
        beside(move || {
            let artefact = source.artefact(&wanted.machine, &wasm, limit)?;
            let weight = weight(&wasm, &artefact);
            if let Some(disk) = &source.disk
                && let Err(error) = disk.store(&wanted.name, &artefact, weight)
            {
                tracing::warn!(%error, "cannot keep compiled code: it will be compiled again");
            }
            ready(&wanted, Loaded { artefact, weight })
        })
        .await?
    }

    /// The time that compiling may take.
    fn patience(&self) -> Duration {
        self.compiler.as_ref().map_or(Duration::MAX, |compiler| compiler.limits.timeout)
    }

    /// A turn to compile, if one comes in the time that compiling may take.
    async fn turn(&self, turns: &Shares, tenant: &TenantName) -> Result<Taken, Unready> {
        let patience = self.patience();
        match tokio::time::timeout(patience, turns.of(tenant).take()).await {
            Ok(turn) => Ok(turn),
            Err(_) => {
                let seconds = patience.as_secs();
                let message = format!("others were compiled for {seconds} s: try again later");
                Err(Unready::transient(message))
            }
        }
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

fn ready<R: Ready>(wanted: &Wanted, loaded: Loaded) -> Result<(Arc<R>, u64), Unready> {
    let Loaded { artefact, weight } = loaded;
    Ok((Arc::new(R::ready(&wanted.machine, artefact)?), weight))
}

/// The code of what can never run.
pub(super) const UNUSABLE: &str = "plugin_unusable";

fn refused(unready: Unready) -> Outcome {
    // On a busy machine, what takes too long now may be fast enough another time.
    let transient = unready.why != Why::Plugin;
    let code = if transient { "plugin_unavailable" } else { UNUSABLE };
    let error = AttemptError::new(code, unready.message);
    Outcome::Refused { error, transient }
}

/// If this process was started to compile a plugin: does that, and answers how it went.
pub(super) fn compile_if_asked() -> Option<ExitCode> {
    let order = match Order::of_this_process()? {
        Ok(order) => order,
        Err(error) => {
            eprintln!("{error:#}");
            return Some(ExitCode::FAILURE);
        }
    };
    let confined = match confined() {
        Ok(confined) => confined,
        Err(error) => {
            eprintln!("{error:#}");
            return Some(ExitCode::FAILURE);
        }
    };
    Some(order.obey(confined, |wasm| {
        let target = Target::named(&order.profile).context("there is no such target")?;
        Ok(compile(&engine::compiling(target)?, wasm)?)
    }))
}

/// Closes what this process inherited, and confines it as far as it still has to set its limits: the
/// answer does the rest, and says what the system does not have.
fn confined() -> anyhow::Result<impl FnOnce() -> anyhow::Result<Vec<String>>> {
    #[cfg(target_os = "linux")]
    super::process::sandbox::close_inherited().context("cannot close inherited files")?;
    signals::leave_to_host().context("cannot leave signals to the host")?;
    #[cfg(target_os = "linux")]
    return Ok(super::process::sandbox::confine_compiler);
    #[cfg(not(target_os = "linux"))]
    Ok(|| Ok(vec![]))
}

/// Machine code for `wasm`, as bytes.
fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let wasm = &debug_info::bounded(wasm);
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
