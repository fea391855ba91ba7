//! Builds the router of `/v1`. A route is added with its scope, and with whether it takes a query and a body.
//! There is no other way to add one, so every route has a scope, and none ignores parts of a request.

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use jobwright_core::access::{Caller, Scope};

use super::connection_slots::RequestPermit;
use super::error::ApiError;
use super::problem_code::ProblemCode;
use super::route::Route;
use super::unused;
use crate::api::app::App;
use crate::detached;

/// The routes so far.
#[derive(Default)]
pub(in crate::api) struct Routes {
    routes: Vec<(Route, MethodRouter<App>)>,
}

impl Routes {
    /// Adds a route that takes neither query parameters nor a body.
    pub(in crate::api) fn on<H, T>(
        mut self,
        method: Method,
        path: &'static str,
        scope: Scope,
        handler: H,
    ) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        // All standard methods can be routed.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        let (takes_query, takes_body, hint, waits) = (false, false, None, false);
        let route = Route { method, path, scope, takes_query, takes_body, hint, waits };
        self.routes.push((route, on(filter, handler)));
        self
    }

    /// The last route takes query parameters.
    pub(in crate::api) fn with_query(self) -> Self {
        self.changed(|route| route.takes_query = true)
    }

    /// The last route takes a body.
    pub(in crate::api) fn with_body(self) -> Self {
        self.changed(|route| route.takes_body = true)
    }

    /// Clients that send a body to the last route get `hint`.
    pub(in crate::api) fn hinting(self, hint: &'static str) -> Self {
        self.changed(|route| route.hint = Some(hint))
    }

    /// The last route may wait for long.
    pub(in crate::api) fn waiting(self) -> Self {
        self.changed(|route| route.waits = true)
    }

    fn changed(mut self, change: impl FnOnce(&mut Route)) -> Self {
        if let Some((route, _)) = self.routes.last_mut() {
            change(route);
        }
        self
    }

    pub(in crate::api) fn into_router(self) -> Router<App> {
        self.routes.into_iter().fold(Router::new(), |router, (route, handler)| {
            let path = route.path;
            let guard = from_fn(move |request: Request, next: Next| {
                check_and_handle(route.clone(), request, next)
            });
            router.route(path, handler.route_layer(guard))
        })
    }

    pub(in crate::api) fn into_table(self) -> Vec<Route> {
        self.routes.into_iter().map(|(route, _)| route).collect()
    }
}

/// Checks the scope of the caller, and that the route uses all of the request. Then handles it.
async fn check_and_handle(
    route: Route,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.may(route.scope) => {
            handle(&route, unused::refuse(&route, request).await?, next).await
        }
        Some(_) => Err(ApiError::new(
            ProblemCode::ScopeMissing,
            format!("this key does not have the scope {}, which this request needs", route.scope),
        )),
        None => Err(ApiError::unauthorized()),
    }
}

/// Handles a request. Changes complete even if the client disconnects, and keep the permit of the request until
/// then.
async fn handle(route: &Route, request: Request, next: Next) -> Result<Response, ApiError> {
    if route.waits || route.method.is_safe() {
        return Ok(next.run(request).await);
    }
    let permit = request.extensions().get::<RequestPermit>().cloned();
    Ok(detached::run(permit, next.run(request)).await?)
}
