//! The description of a route.

use axum::http::Method;
use jobwright_core::access::Scope;

/// A route, for the router, tests and documentation.
#[derive(Debug, Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path under `/v1`, with variable parts in braces.
    pub path: &'static str,
    /// The scope that a caller needs.
    pub scope: Scope,
    /// Whether it takes query parameters. Other routes refuse them.
    pub takes_query: bool,
    /// Whether it takes a body. Other routes refuse bodies that are not empty.
    pub takes_body: bool,
    /// A hint in the error for clients that send a body although the route takes none.
    pub(in crate::api) hint: Option<&'static str>,
    /// Whether it may wait for long; it is aborted when the client disconnects. Other routes that change
    /// something complete even then.
    pub(in crate::api) waits: bool,
}
