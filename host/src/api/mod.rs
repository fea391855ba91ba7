//! The HTTP interface: [`router`] has its routes. Each resource has a file; [`http`] has the mechanisms of HTTP.

mod app;
mod audit;
mod client;
mod disabled;
mod health;
pub mod http;
mod jobs;
mod keys;
pub(crate) mod plugin_settings;
mod plugins;
mod queues;
mod secrets;
mod settings;
mod tenants;
mod uploads;
mod welcome;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::routing::get;
use jobwright_core::access::Scope;

pub use self::app::App;
use self::http::error::ApiError;
use self::http::layers;
pub use self::http::problem_code::ProblemCode;
pub use self::http::route::Route;
use self::http::routes::Routes;
use self::plugin_settings::configure;
pub use self::settings::ApiSettings;

/// The router of all routes.
pub fn router(app: App) -> Router {
    let authenticate = axum::middleware::from_fn_with_state(app.clone(), layers::authenticate);
    let v1 = v1().into_router().layer(authenticate);
    Router::new()
        .route("/", get(welcome::page).options(health::options))
        .route("/healthz", get(health::alive).options(health::options))
        .route("/readyz", get(health::ready).options(health::options))
        .nest("/v1", v1)
        .fallback(async || ApiError::new(ProblemCode::NoSuchRoute, "no route has this path"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        // `http::body` reads bodies within their limits.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(app.clone(), layers::finish))
        .with_state(app)
}

/// All routes under `/v1`, for tests and documentation.
#[must_use]
pub fn routes() -> Vec<Route> {
    v1().into_table()
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// The routes under `/v1`, with their scopes.
fn v1() -> Routes {
    admin_routes(job_routes(plugin_routes(Routes::default())))
}

fn plugin_routes(routes: Routes) -> Routes {
    use Scope::{JobsRead, PluginsWrite};
    use disabled::{PluginTarget, VersionTarget};
    routes
        .on(GET, "/plugins", JobsRead, plugins::list)
        .with_query()
        .on(GET, "/plugins/{name}", JobsRead, plugins::show)
        .on(PUT, "/plugins/{name}", PluginsWrite, uploads::upload)
        .with_query()
        .with_body()
        .on(PATCH, "/plugins/{name}", PluginsWrite, configure::configure)
        .with_body()
        .on(DELETE, "/plugins/{name}", PluginsWrite, plugins::remove)
        .on(POST, "/plugins/{name}/disable", PluginsWrite, disabled::disable::<PluginTarget>)
        .with_body()
        .on(POST, "/plugins/{name}/enable", PluginsWrite, disabled::enable::<PluginTarget>)
        .on(GET, "/plugins/{name}/versions/{version}", JobsRead, plugins::show_version)
        .on(DELETE, "/plugins/{name}/versions/{version}", PluginsWrite, plugins::remove_version)
        .on(GET, "/plugins/{name}/versions/{version}/wasm", JobsRead, plugins::wasm)
        .on(
            POST,
            "/plugins/{name}/versions/{version}/disable",
            PluginsWrite,
            disabled::disable::<VersionTarget>,
        )
        .with_body()
        .on(
            POST,
            "/plugins/{name}/versions/{version}/enable",
            PluginsWrite,
            disabled::enable::<VersionTarget>,
        )
}

fn job_routes(routes: Routes) -> Routes {
    use Scope::{JobsRead, JobsReplay, JobsSubmit};
    routes
        .on(GET, "/jobs", JobsRead, jobs::list)
        .with_query()
        .on(POST, "/jobs", JobsSubmit, jobs::create)
        .with_query()
        .with_body()
        .waiting()
        .on(POST, "/jobs/batch", JobsSubmit, jobs::create_batch)
        .with_body()
        .on(GET, "/jobs/{id}", JobsRead, jobs::show)
        .with_query()
        .on(GET, "/jobs/{id}/payload", JobsRead, jobs::payload)
        .on(GET, "/jobs/{id}/output", JobsRead, jobs::output)
        .on(GET, "/jobs/{id}/logs", JobsRead, jobs::logs)
        .with_query()
        .on(GET, "/jobs/{id}/seeds", JobsReplay, jobs::seeds)
        .on(POST, "/jobs/{id}/cancel", JobsSubmit, jobs::cancel)
        .on(POST, "/jobs/{id}/retry", JobsSubmit, jobs::retry)
        .hinting(jobs::RETRY_HINT)
        .on(GET, "/queues", JobsRead, queues::list)
        .on(GET, "/queues/{name}", JobsRead, queues::show)
        .on(POST, "/queues/{name}/pause", JobsSubmit, queues::pause)
        .with_body()
        .on(POST, "/queues/{name}/resume", JobsSubmit, queues::resume)
}

fn admin_routes(routes: Routes) -> Routes {
    use Scope::Admin;
    use disabled::{DigestTarget, TenantTarget};
    routes
        .on(GET, "/secrets", Admin, secrets::list)
        .on(PUT, "/secrets/{name}", Admin, secrets::set)
        .with_body()
        .on(DELETE, "/secrets/{name}", Admin, secrets::remove)
        .on(GET, "/keys", Admin, keys::list)
        .on(POST, "/keys", Admin, keys::create)
        .with_body()
        .on(DELETE, "/keys/{id}", Admin, keys::revoke)
        .on(GET, "/tenants", Admin, tenants::list)
        .on(GET, "/tenants/{name}", Admin, tenants::show)
        .on(PATCH, "/tenants/{name}", Admin, tenants::configure)
        .with_body()
        .on(DELETE, "/tenants/{name}", Admin, tenants::remove)
        .on(POST, "/tenants/{name}/disable", Admin, disabled::disable::<TenantTarget>)
        .with_body()
        .on(POST, "/tenants/{name}/enable", Admin, disabled::enable::<TenantTarget>)
        .on(POST, "/digests/{digest}/disable", Admin, disabled::disable::<DigestTarget>)
        .with_body()
        .on(POST, "/digests/{digest}/enable", Admin, disabled::enable::<DigestTarget>)
        .on(GET, "/disabled", Admin, disabled::list)
        .on(GET, "/audit", Admin, audit::list)
        .with_query()
}
