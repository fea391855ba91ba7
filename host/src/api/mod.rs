//! The HTTP interface: [`router`] is its table of contents. One file for each resource; what goes
//! wrong is in `error`, and nothing here names a driver.

mod answers;
mod audit;
pub mod auth;
mod base64;
pub(crate) mod body;
pub mod browser;
mod content;
mod detached;
mod disk;
pub(crate) mod error;
mod exit_codes;
mod fields;
mod framing;
pub(crate) mod grants;
mod health;
mod intake;
mod jobs;
mod keys;
mod layers;
mod limits;
mod linger;
mod number;
mod path;
mod places;
mod plugins;
mod query;
mod queues;
mod rate;
mod routes;
mod secrets;
pub mod server;
mod settings;
mod stall;
mod switch;
mod tenants;
mod unused;
mod wait;
mod welcome;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::routing::get;
use jobwright_core::access::{AccessStore, Scope};
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::clock::Clock;
use jobwright_core::limits::LimitPolicy;
use jobwright_core::outside::Grantor;
use jobwright_core::registry::PluginRegistry;
use jobwright_core::runtime::Runtime;
use jobwright_core::secret::SecretStore;
use jobwright_core::store::Store;
use tokio::sync::{Mutex, watch};

use self::answers::Answers;
use self::auth::ApiKeys;
use self::body::Bodies;
use self::browser::AllowedHosts;
use self::disk::Disk;
use self::error::ApiError;
use self::intake::Intake;
use self::rate::Rates;
pub use self::routes::Route;
use self::routes::Routes;
use crate::controls::ControlsView;
use crate::events::WakeUps;
use crate::shares::{Shares, table};
use crate::telemetry::Refusals;

/// What requests are answered from.
#[derive(Clone)]
pub struct App {
    /// Where jobs are.
    pub store: Arc<dyn Store>,
    /// Where plugins are.
    pub registry: Arc<dyn PluginRegistry>,
    /// What says whether bytes are a plugin.
    pub runtime: Arc<dyn Runtime>,
    /// Where keys and the audit log are.
    pub access: Arc<dyn AccessStore>,
    /// Where secrets are.
    pub secrets: Arc<dyn SecretStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What has kept values for plugins.
    pub grantor: Arc<dyn Grantor>,
    /// What wakes requests that wait.
    pub wake_ups: Arc<WakeUps>,
    /// What administrators disabled.
    pub controls: Arc<ControlsView>,
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
    /// How many unfinished jobs queues may hold.
    pub capacity: CapacityLimits,
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
    answers: Answers,
    requests: Shares,
    listings: Shares,
    reads: Shares,
    changes: Shares,
    inspections: Shares,
    disk: Disk,
    rates: Rates,
    refusals: Refusals,
    /// Held over each change of keys and tenants, from looking at what there is.
    administration: Mutex<()>,
    intake: Intake,
}

/// What the interface works with.
pub struct Parts {
    /// Where jobs are.
    pub store: Arc<dyn Store>,
    /// Where plugins are.
    pub registry: Arc<dyn PluginRegistry>,
    /// What says whether bytes are a plugin.
    pub runtime: Arc<dyn Runtime>,
    /// Where keys and the audit log are.
    pub access: Arc<dyn AccessStore>,
    /// Where secrets are.
    pub secrets: Arc<dyn SecretStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What has kept values for plugins.
    pub grantor: Arc<dyn Grantor>,
    /// What wakes requests that wait.
    pub wake_ups: Arc<WakeUps>,
    /// What administrators disabled.
    pub controls: Arc<ControlsView>,
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
            access: parts.access,
            secrets: parts.secrets,
            clock: parts.clock,
            grantor: parts.grantor,
            wake_ups: parts.wake_ups,
            controls: parts.controls,
            stopping: parts.stopping,
            gates: Arc::new(Gates {
                bodies: Bodies::new(&table::BODIES, jobs::request_bytes(settings.payload_bytes)),
                plugins: Bodies::new(&table::UPLOADS, settings.plugin_bytes),
                answers: Answers::new(settings.limits.ceiling.output_bytes),
                requests: Shares::new(&table::REQUESTS),
                listings: Shares::new(&table::LISTINGS),
                reads: Shares::new(&table::READS),
                changes: Shares::new(&table::CHANGES),
                inspections: Shares::new(&table::INSPECTIONS),
                disk: Disk::new(settings.data.clone(), settings.free_bytes),
                rates: Rates::default(),
                refusals: Refusals::default(),
                administration: Mutex::default(),
                intake: Intake::default(),
            }),
            settings: Arc::new(settings),
        }
    }
}

/// Every route.
pub fn router(app: App) -> Router {
    let authenticate = axum::middleware::from_fn_with_state(app.clone(), layers::authenticate);
    // Inside of it, as room for answers is shared by tenants.
    let hold = axum::middleware::from_fn_with_state(app.clone(), answers::hold);
    let v1 = v1().into_router().layer(hold).layer(authenticate);
    Router::new()
        .route("/", get(welcome::page).options(health::options))
        .route("/healthz", get(health::alive).options(health::options))
        .route("/readyz", get(health::ready).options(health::options))
        .nest("/v1", v1)
        .fallback(async || ApiError::not_found("no_such_route", "there is nothing at this address"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        // Bodies are read, and bounded, by `body`.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(app.clone(), layers::guard))
        .layer(axum::middleware::from_fn_with_state(app.clone(), layers::finish))
        .with_state(app)
}

/// Every route under `/v1`, as tests and documents need to know them.
#[must_use]
pub fn routes() -> Vec<Route> {
    v1().into_table()
}

/// What there is, and what a caller needs for it.
fn v1() -> Routes {
    use Scope::{Admin, JobsRead, JobsReplay, JobsSubmit, PluginsWrite};
    use switch::{OfDigest, OfPlugin, OfTenant, OfVersion};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const DELETE: Method = Method::DELETE;
    Routes::default()
        .on((GET, "/plugins"), JobsRead, plugins::list)
        .with_query()
        .on((GET, "/plugins/{name}"), JobsRead, plugins::show)
        .on((Method::PUT, "/plugins/{name}"), PluginsWrite, plugins::upload)
        .with_query()
        .with_body()
        .on((Method::PATCH, "/plugins/{name}"), PluginsWrite, settings::configure)
        .with_body()
        .on((DELETE, "/plugins/{name}"), PluginsWrite, plugins::remove)
        .on((POST, "/plugins/{name}/disable"), PluginsWrite, switch::disable::<OfPlugin>)
        .with_body()
        .on((POST, "/plugins/{name}/enable"), PluginsWrite, switch::enable::<OfPlugin>)
        .on((GET, "/plugins/{name}/versions/{version}"), JobsRead, plugins::show_version)
        .on((DELETE, "/plugins/{name}/versions/{version}"), PluginsWrite, plugins::remove_version)
        .on((GET, "/plugins/{name}/versions/{version}/wasm"), JobsRead, plugins::wasm)
        .on(
            (POST, "/plugins/{name}/versions/{version}/disable"),
            PluginsWrite,
            switch::disable::<OfVersion>,
        )
        .with_body()
        .on(
            (POST, "/plugins/{name}/versions/{version}/enable"),
            PluginsWrite,
            switch::enable::<OfVersion>,
        )
        .on((GET, "/jobs"), JobsRead, jobs::list)
        .with_query()
        .on((POST, "/jobs"), JobsSubmit, jobs::create)
        .with_query()
        .with_body()
        .waiting()
        .on((POST, "/jobs/batch"), JobsSubmit, jobs::create_batch)
        .with_body()
        .on((GET, "/jobs/{id}"), JobsRead, jobs::show)
        .with_query()
        .on((GET, "/jobs/{id}/payload"), JobsRead, jobs::payload)
        .on((GET, "/jobs/{id}/output"), JobsRead, jobs::output)
        .on((GET, "/jobs/{id}/logs"), JobsRead, jobs::logs)
        .with_query()
        .on((GET, "/jobs/{id}/seeds"), JobsReplay, jobs::seeds)
        .on((POST, "/jobs/{id}/cancel"), JobsSubmit, jobs::cancel)
        .on((POST, "/jobs/{id}/retry"), JobsSubmit, jobs::retry)
        .hinting(jobs::RETRY_HINT)
        .on((GET, "/queues"), JobsRead, queues::list)
        .on((GET, "/queues/{name}"), JobsRead, queues::show)
        .on((POST, "/queues/{name}/pause"), JobsSubmit, queues::pause)
        .with_body()
        .on((POST, "/queues/{name}/resume"), JobsSubmit, queues::resume)
        .on((GET, "/secrets"), Admin, secrets::list)
        .on((Method::PUT, "/secrets/{name}"), Admin, secrets::set)
        .with_body()
        .on((DELETE, "/secrets/{name}"), Admin, secrets::remove)
        .on((GET, "/keys"), Admin, keys::list)
        .on((POST, "/keys"), Admin, keys::create)
        .with_body()
        .on((DELETE, "/keys/{id}"), Admin, keys::revoke)
        .on((GET, "/tenants"), Admin, tenants::list)
        .on((GET, "/tenants/{name}"), Admin, tenants::show)
        .on((Method::PATCH, "/tenants/{name}"), Admin, tenants::configure)
        .with_body()
        .on((DELETE, "/tenants/{name}"), Admin, tenants::remove)
        .on((POST, "/tenants/{name}/disable"), Admin, switch::disable::<OfTenant>)
        .with_body()
        .on((POST, "/tenants/{name}/enable"), Admin, switch::enable::<OfTenant>)
        .on((POST, "/digests/{digest}/disable"), Admin, switch::disable::<OfDigest>)
        .with_body()
        .on((POST, "/digests/{digest}/enable"), Admin, switch::enable::<OfDigest>)
        .on((GET, "/disabled"), Admin, switch::list)
        .on((GET, "/audit"), Admin, audit::list)
        .with_query()
}
