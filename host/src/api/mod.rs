//! The HTTP interface: [`router`] is its table of contents. One file for each resource; what goes
//! wrong is in `error`, and nothing here names a driver.

pub mod auth;
pub(crate) mod body;
pub mod browser;
mod content;
mod disk;
pub(crate) mod error;
mod fields;
mod health;
mod jobs;
mod layers;
mod limits;
mod linger;
mod path;
mod plugins;
mod queues;
pub mod server;
mod settings;
mod stall;
mod wait;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use jobwright_core::clock::Clock;
use jobwright_core::limits::LimitPolicy;
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::Runtime;
use jobwright_core::store::JobStore;
use tokio::sync::{RwLock, Semaphore, watch};

use self::auth::ApiKeys;
use self::body::Bodies;
use self::browser::AllowedHosts;
use self::disk::Disk;
use self::error::ApiError;
use crate::notify::Signals;

/// Uploads that are inspected and compiled at one time: each may take the length of the plugin
/// many times over.
const UPLOADS: usize = 2;

/// What requests are answered from.
#[derive(Clone)]
pub struct App {
    /// Where jobs are.
    pub store: Arc<dyn JobStore>,
    /// Where plugins are.
    pub registry: Arc<dyn PluginRegistry>,
    /// What says whether bytes are a plugin.
    pub runtime: Arc<dyn Runtime>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who is to hear of what.
    pub signals: Arc<Signals>,
    /// Whether the host was told to stop.
    pub stopping: watch::Receiver<bool>,
    /// What an operator decided.
    pub settings: Arc<ApiSettings>,
    gates: Arc<Gates>,
}

/// What an operator decides about the interface.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Limits that jobs get and may ask for.
    pub limits: LimitPolicy,
    /// How many unfinished jobs a queue may hold.
    pub queue_capacity: usize,
    /// The longest payload, in bytes.
    pub payload_bytes: u64,
    /// The longest plugin, in bytes.
    pub plugin_bytes: u64,
    /// The data directory.
    pub data: PathBuf,
    /// How much of its file system is to stay free, in bytes.
    pub free_bytes: u64,
    /// The keys that may ask.
    pub keys: ApiKeys,
    /// The names under which the host may be asked.
    pub allowed_hosts: AllowedHosts,
}

/// What keeps requests from getting in each other's way.
#[derive(Debug)]
struct Gates {
    bodies: Bodies,
    /// Apart, so that uploads, which are long and take their time, never keep jobs out.
    plugins: Bodies,
    uploads: Semaphore,
    disk: Disk,
    /// Shared while a job is accepted, from resolving its plugin to its being stored; alone while a
    /// plugin is removed or set up. So no job is accepted whose plugin is just going, and no setting
    /// is lost that is changed at the same time as another.
    removal: RwLock<()>,
}

/// What the interface works with.
pub struct Parts {
    /// Where jobs are.
    pub store: Arc<dyn JobStore>,
    /// Where plugins are.
    pub registry: Arc<dyn PluginRegistry>,
    /// What says whether bytes are a plugin.
    pub runtime: Arc<dyn Runtime>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who is to hear of what.
    pub signals: Arc<Signals>,
    /// Whether the host was told to stop.
    pub stopping: watch::Receiver<bool>,
}

impl App {
    /// The interface to these parts.
    #[must_use]
    pub fn new(parts: Parts, settings: ApiSettings) -> Self {
        Self {
            store: parts.store,
            registry: parts.registry,
            runtime: parts.runtime,
            clock: parts.clock,
            signals: parts.signals,
            stopping: parts.stopping,
            gates: Arc::new(Gates {
                bodies: Bodies::new(settings.payload_bytes),
                plugins: Bodies::new(settings.plugin_bytes),
                uploads: Semaphore::new(UPLOADS),
                disk: Disk::new(settings.data.clone(), settings.free_bytes),
                removal: RwLock::new(()),
            }),
            settings: Arc::new(settings),
        }
    }
}

/// Every route.
pub fn router(app: App) -> Router {
    let v1 = Router::new()
        .route("/plugins", get(plugins::list))
        .route(
            "/plugins/{name}",
            get(plugins::show)
                .put(plugins::upload)
                .patch(settings::configure)
                .delete(plugins::remove),
        )
        .route(
            "/plugins/{name}/versions/{version}",
            get(plugins::show_version).delete(plugins::remove_version),
        )
        .route("/plugins/{name}/versions/{version}/wasm", get(plugins::wasm))
        .route("/jobs", get(jobs::list).post(jobs::create))
        .route("/jobs/batch", post(jobs::create_batch))
        .route("/jobs/{id}", get(jobs::show))
        .route("/jobs/{id}/output", get(jobs::output))
        .route("/jobs/{id}/logs", get(jobs::logs))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/retry", post(jobs::retry))
        .route("/queues", get(queues::list))
        .route("/queues/{name}", get(queues::show))
        .route("/queues/{name}/pause", post(queues::pause))
        .route("/queues/{name}/resume", post(queues::resume))
        .layer(axum::middleware::from_fn_with_state(app.clone(), layers::authenticate));
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .nest("/v1", v1)
        .fallback(async || ApiError::not_found("no_such_route", "there is nothing at this address"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        // Bodies are read, and bounded, by `body`.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(app.clone(), layers::guard))
        .layer(axum::middleware::from_fn(layers::finish))
        .with_state(app)
}
