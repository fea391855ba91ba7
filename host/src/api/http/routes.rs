//! The routes under `/v1`, each with the scope that it needs and with what it takes beside its path. There
//! is no other way to add a route, so none is without a scope, and none ignores what it is sent.

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use jobwright_core::access::{Caller, Scope};

use super::error::ApiError;
use super::places::UnderWay;
use super::route::Route;
use super::unused;
use crate::api::app::App;
use crate::detached;

/// Routes, as they are added.
#[derive(Default)]
pub(in crate::api) struct Routes {
    routes: Vec<(Route, MethodRouter<App>)>,
}

impl Routes {
    /// Adds a route that takes neither query parameters nor a body.
    pub(in crate::api) fn on<H, T>(
        mut self,
        (method, path): (Method, &'static str),
        scope: Scope,
        handler: H,
    ) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        // Of the methods that there are, all can be routed.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        let (takes_query, takes_body, hint, waits) = (false, false, None, false);
        let route = Route { method, path, scope, takes_query, takes_body, hint, waits };
        self.routes.push((route, on(filter, handler)));
        self
    }

    /// The route that was added last takes query parameters.
    pub(in crate::api) fn with_query(self) -> Self {
        self.changed(|route| route.takes_query = true)
    }

    /// The route that was added last takes a body.
    pub(in crate::api) fn with_body(self) -> Self {
        self.changed(|route| route.takes_body = true)
    }

    /// `hint` is said to clients that send a body to the route that was added last.
    pub(in crate::api) fn hinting(self, hint: &'static str) -> Self {
        self.changed(|route| route.hint = Some(hint))
    }

    /// The route that was added last may wait for long.
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
            let guard =
                from_fn(move |request: Request, next: Next| pass(route.clone(), request, next));
            router.route(path, handler.route_layer(guard))
        })
    }

    pub(in crate::api) fn into_table(self) -> Vec<Route> {
        self.routes.into_iter().map(|(route, _)| route).collect()
    }
}

/// Lets only those requests pass whose caller has the scope, and that carry nothing that the route
/// would ignore.
async fn pass(route: Route, request: Request, next: Next) -> Result<Response, ApiError> {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.may(route.scope) => {
            answer(&route, unused::refuse(&route, request).await?, next).await
        }
        Some(_) => Err(ApiError::forbidden(
            "scope_missing",
            format!("this key does not have the scope {}, which this request needs", route.scope),
        )),
        None => Err(ApiError::unauthorized()),
    }
}

/// A change is made to its end with all its locks and turns, also if the client goes away meanwhile;
/// until then the request counts among those of its tenant.
async fn answer(route: &Route, request: Request, next: Next) -> Result<Response, ApiError> {
    if route.waits || route.method.is_safe() {
        return Ok(next.run(request).await);
    }
    let under_way = request.extensions().get::<UnderWay>().cloned();
    Ok(detached::run(under_way, next.run(request)).await?)
}
