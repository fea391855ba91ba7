//! What a route takes, and what a caller needs for it.

use axum::http::Method;
use jobwright_core::access::Scope;

/// A route, as tests and documents need to know it.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path under `/v1`, with the variable parts in braces.
    pub path: &'static str,
    /// What a caller needs.
    pub scope: Scope,
    /// Whether it takes query parameters. Others refuse them.
    pub takes_query: bool,
    /// Whether it takes a body. Others refuse one that says something.
    pub takes_body: bool,
    /// What is said to a client that sends a body nevertheless, and may expect it to have an effect.
    pub(in crate::api) hint: Option<&'static str>,
    /// Whether it may wait for long, for a client that waits too. Others that change something go on
    /// when their client goes away.
    pub(in crate::api) waits: bool,
}
