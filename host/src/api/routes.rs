//! The routes under `/v1`, each with the scope that it needs. There is no other way to add one, so none
//! is without.

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use jobwright_core::access::{Caller, Scope};

use super::App;
use super::error::ApiError;

/// A route, as tests and documents need to know it.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path under `/v1`, with the variable parts in braces.
    pub path: &'static str,
    /// What a caller needs.
    pub scope: Scope,
}

/// Routes, as they are added.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<App>,
    table: Vec<Route>,
}

impl Routes {
    /// Adds one.
    pub(super) fn on<H, T>(
        mut self,
        (method, path): (Method, &'static str),
        scope: Scope,
        handler: H,
    ) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let guard = from_fn(move |request: Request, next: Next| require(scope, request, next));
        // Of the methods that there are, all can be routed.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        self.router = self.router.route(path, on(filter, handler).route_layer(guard));
        self.table.push(Route { method, path, scope });
        self
    }

    pub(super) fn into_router(self) -> Router<App> {
        self.router
    }

    pub(super) fn into_table(self) -> Vec<Route> {
        self.table
    }
}

/// Lets only those pass who may.
async fn require(scope: Scope, request: Request, next: Next) -> Result<Response, ApiError> {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.may(scope) => Ok(next.run(request).await),
        Some(_) => Err(ApiError::forbidden(
            "scope_missing",
            format!("this key does not have the scope {scope}, which this request needs"),
        )),
        None => Err(ApiError::unauthorized()),
    }
}
