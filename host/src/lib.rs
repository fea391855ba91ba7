//! Jobwright: a job host for WebAssembly. This crate has the effects and the program; the domain is
//! `jobwright-core`, which decides everything about a job.
//!
//! # The life of a job
//!
//! ```text
//! POST /v1/jobs ─ api: bytes → JobDraft
//!    └ intake::submit ─ plugin resolved, digest pinned; limits completed, refused above ceilings;
//!                       holds, disk floor, rate, in one order
//!        └ JobStore::enqueue ─ a place in the queue, one commit for many jobs → 202, when it is on disk
//! dispatch ─ waits for a free slot and memory, then claims → Leased
//!    └ Runtime::run ─ one fresh wasmtime::Store per attempt, in a process of its own if configured → Outcome
//!        └ core::retry::decide → Verdict
//!            └ JobStore::finish ─ fenced by the attempt number → changes, published after the commit
//! ```
//!
//! Subscribers of the committed changes: [`events`] wakes the claim loop and waiting requests, [`controls`]
//! follows the holds, [`dispatch`] stops attempts, [`telemetry`] logs discarded jobs. In [`dispatch`], the
//! heartbeat renews leases and saves logs, and the reaper reclaims jobs whose leases have expired.
//!
//! # The parts
//!
//! | part | owns |
//! |---|---|
//! | [`cli`] | the commands: `serve` runs a host, some run a guest, the others are HTTP clients |
//! | [`api`] | HTTP: a file for each resource, mechanisms in `api::http` |
//! | [`intake`] | acceptance of jobs, for every way in |
//! | [`dispatch`] | attempts from claim to verdict, leases, retention |
//! | [`parts`] | the effects of a host, declared once |
//! | [`events`], [`controls`] | subscribers: wake-ups and waiters; what administrators disabled |
//! | [`store`], [`sqlite`] | the drivers of the job store and of the keys; the embedded database engine |
//! | [`registry`] | the bytes of plugins, compiled code, the compile process |
//! | [`runtime`] | sandboxes: engine, kinds of plugins, limits, isolation by processes |
//! | [`services`] | what guests may reach: HTTP, secrets, key-value, configuration |
//! | [`shares`] | semaphores that are fair between tenants |
//! | [`config`], [`data_dir`] | the configuration; the data directory and its lock |
//! | [`telemetry`] | the log, and events for operators |
//! | [`clock`], [`detached`], [`disk`], [`privacy`], [`tls`] | the machine: clocks, tasks that outlive a client, free space, file modes, certificates |
//!
//! Arrows point one way: `main → cli → lib → api, dispatch → intake → core's traits ← store, registry, runtime,
//! services`. The `structure` test checks that, and has the reason of each import between two parts.

pub mod api;
pub mod cli;
mod clock;
pub mod config;
pub mod controls;
mod data_dir;
mod detached;
mod disk;
pub mod dispatch;
pub mod events;
pub mod intake;
mod parts;
mod privacy;
pub mod registry;
pub mod runtime;
pub mod services;
mod shares;
mod sqlite;
pub mod store;
pub mod telemetry;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use jobwright_core::host::HostId;
use jobwright_core::limits::LimitPolicy;
use jobwright_core::{AccessStore, Clock as _, Store};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use self::clock::SystemClock;
pub use self::config::Config;
pub use self::data_dir::DataDir;
pub use self::parts::{JobParts, Parts, Subscribers};

use self::api::http::auth::ApiKeys;
use self::api::http::browser::AllowedHosts;
use self::api::{ApiSettings, App};
use self::data_dir::Part;
use self::dispatch::{DispatchSettings, Dispatcher, Randomness, RetentionSettings};
use self::registry::DiskRegistry;
use self::runtime::RuntimeConfig;
use self::services::secrets::SecretFile;
use self::services::values::{Bounds, Values};
use self::services::web::Web;
use self::services::{GrantedCapabilities, SharedServices};
use self::store::access::SqliteAccess;
use self::store::embedded::{EmbeddedStore, with_room};
use self::store::memory::MemoryStore;
use self::telemetry::DiscardedLog;

/// A host that listens, and handles no requests yet.
pub struct Host {
    config: Config,
    listener: TcpListener,
    app: App,
    dispatcher: Dispatcher,
    stopping: watch::Sender<bool>,
    _discarded: Arc<DiscardedLog>,
    /// Held until every write has ended.
    _data: Option<DataDir>,
}

/// Builds a host from a configuration.
///
/// # Errors
/// With a reason that an operator can act on: the configuration contradicts itself, the data
/// directory is in use or unreadable, the address is in use.
///
/// This program is started again to compile plugins, and, if so configured, to run attempts. So it
/// must call [`runtime::run_child_process_if_requested`] before anything else.
pub async fn build(config: Config) -> anyhow::Result<Host> {
    config.check()?;
    let data = DataDir::lock(&config.data)?;
    match build_in(&data, config).await {
        Ok(mut host) => {
            host._data = Some(data);
            Ok(host)
        }
        Err(error) => {
            data.discard();
            Err(error)
        }
    }
}

/// Builds a host whose data is in `data`.
async fn build_in(data: &DataDir, config: Config) -> anyhow::Result<Host> {
    let access = with_room(data.path(), || SqliteAccess::open(data.path()))?;
    let access = Arc::new(access);
    let front = Front::open(&config, &*access).await?;
    Part::Plugins.refuse_if_lost(data.path())?;
    let registry =
        Arc::new(DiskRegistry::open(&data.path().join("plugins"), config.disk.plugin_bytes)?);
    Part::Plugins.note_in(data.path());
    let in_processes = config.isolation == config::Isolation::Process;
    let runtime = runtime::start(in_processes, runtime_config(data, &config)?, registry.clone())?;
    privacy::protect_memory().context("cannot protect the memory of this process")?;
    let clock = Arc::new(SystemClock::default());
    // Last, because opening the store reclaims running jobs: a start that fails before changes
    // nothing.
    let store: Arc<dyn Store> = match config.store {
        config::StoreChoice::Memory => Arc::new(MemoryStore::new(config.capacity())),
        config::StoreChoice::Sqlite => {
            Arc::new(EmbeddedStore::open(data.path(), config.capacity(), clock.now())?)
        }
    };
    let kept = config.retention.completed.max(config.retention.discarded);
    let secrets = Arc::new(SecretFile::open(data.path())?.masking_retired(kept));
    let web = Arc::new(Web::new(Handle::current()));
    let config::DiskConfig { value_bytes: most_bytes, free_bytes, .. } = config.disk;
    let values = Arc::new(Values::open(data.path(), Bounds { most_bytes, free_bytes })?);
    let shared = SharedServices { secrets: secrets.clone(), web, values };
    let grantor = Arc::new(GrantedCapabilities::new(registry.clone(), shared));
    let jobs = JobParts { store, runtime, grantor, clock };
    let parts = Parts { jobs, registry, access, secrets };
    front.host(config, parts).await
}

/// Builds a host from the given drivers.
///
/// # Errors
/// If the address is in use, the API keys cannot be read, or the configuration contradicts itself.
pub async fn assemble(config: Config, parts: Parts) -> anyhow::Result<Host> {
    config.check()?;
    Front::open(&config, &*parts.access).await?.host(config, parts).await
}

/// The listener and the API keys, which are opened before the stores.
struct Front {
    listener: TcpListener,
    keys: ApiKeys,
}

impl Front {
    async fn open(config: &Config, access: &dyn AccessStore) -> anyhow::Result<Self> {
        let keys = config.api_keys.as_deref().map(ApiKeys::read).transpose()?.unwrap_or_default();
        let has_keys = keys.has_file() || access.has_keys()?;
        config.check_reach(has_keys)?;
        if has_keys {
            Part::Keys.note_in(&config.data);
        } else if Part::Keys.was_in(&config.data) {
            config.check_lost_keys(&Part::Keys.shown_in(&config.data))?;
        }
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        if !has_keys {
            tracing::warn!(
                "no API key is required: every program that can reach {} may do everything; \
                 create the first key with `jobwright key create --scope admin`",
                listener.local_addr()?
            );
        }
        Ok(Self { listener, keys })
    }

    /// Builds the host that handles the requests of this listener.
    async fn host(self, config: Config, parts: Parts) -> anyhow::Result<Host> {
        let Self { listener, keys } = self;
        let changes = parts.jobs.store.changes();
        let subscribers = Subscribers::of(&*parts.jobs.store).await?;
        let _discarded =
            DiscardedLog::start(&changes).context("cannot start a thread for the log")?;
        let limits = config.limit_policy()?;
        let seeds = data_dir::seed_key(&config.data)?;
        let host = HostId::from_random(rand::random());
        let random = Randomness { host, jitter: Arc::new(rand::random::<f64>), seeds };
        let (stopping, is_stopping) = watch::channel(false);
        let (jobs, settings) = (parts.jobs.clone(), dispatch_settings(&config, limits.ceiling));
        let dispatcher = Dispatcher::new(jobs, subscribers.clone(), random, settings);
        let settings = api_settings(&config, limits, keys);
        let app = App::new(parts, subscribers, is_stopping, settings);
        Ok(Host { config, listener, app, dispatcher, stopping, _discarded, _data: None })
    }
}

impl Host {
    /// The address that the host listens on, with the actual port if the configuration has port 0.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers requests and runs jobs until `stop`; then claims no more, gives running jobs the
    /// grace period, releases the rest, and returns when everything is written. Requests are
    /// handled meanwhile: a job that is accepted then runs at the next start.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let is_stopping = self.stopping.subscribe();
        let (stopped, mut is_stopped) = watch::channel(false);
        let server = tokio::spawn(api::http::server::serve(
            self.listener,
            api::router(self.app),
            async move { drop(is_stopped.wait_for(|stopped| *stopped).await) },
        ));
        let grace = self.config.shutdown_grace;
        let dispatching = tokio::spawn(self.dispatcher.run(is_stopping, grace));
        stop.await;
        tracing::info!("stopping: no new attempts; running ones have {grace:?}");
        self.stopping.send_replace(true);
        for (part, task) in [("dispatcher", dispatching), ("server", server)] {
            if let Err(error) = task.await {
                tracing::error!(%error, "the {part} panicked");
            }
            stopped.send_replace(true);
        }
    }
}

fn guest_threads(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    config.guest_threads.map_or(cores, usize::from)
}

fn runtime_config(data: &DataDir, config: &Config) -> anyhow::Result<RuntimeConfig> {
    Ok(RuntimeConfig {
        slots: config.workers.get() as usize,
        guest_threads: guest_threads(config),
        ceiling: config.limit_policy()?.ceiling,
        cache_dir: Some(data.path().join("compiled")),
        cache_bytes: config.disk.compiled_bytes,
        cache_free_bytes: config.disk.free_bytes,
        compile_limits: Some(config.compile_limits()),
        stack_bytes: config.stack_bytes,
        ..RuntimeConfig::default()
    })
}

fn api_settings(config: &Config, limits: LimitPolicy, keys: ApiKeys) -> ApiSettings {
    ApiSettings {
        limits,
        capacity: config.capacity(),
        payload_bytes: config.payload_bytes,
        plugin_bytes: config.plugin_bytes,
        data: config.data.clone(),
        free_bytes: config.disk.free_bytes,
        keys,
        allowed_hosts: AllowedHosts::new(&config.allowed_hosts),
    }
}

fn dispatch_settings(config: &Config, ceiling: jobwright_core::Limits) -> DispatchSettings {
    DispatchSettings {
        slots: config.workers.get(),
        reserved_slots: config.reserved_workers(),
        memory_bytes: config.memory_budget(),
        lease: config.lease,
        heartbeat: config.heartbeat,
        poll: config.poll,
        ceiling,
        retention: RetentionSettings {
            completed: config.retention.completed,
            discarded: config.retention.discarded,
        },
    }
}
