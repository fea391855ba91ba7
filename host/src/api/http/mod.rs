//! The mechanisms of HTTP that all resources use.
//!
//! | file | owns |
//! |---|---|
//! | [`server`] | connections: their limits, and graceful shutdown |
//! | [`connection_slots`], [`stall`] | which connections are closed when slots are scarce, or clients do not read |
//! | [`framing`], [`linger`] | request smuggling; the rest of refused bodies |
//! | [`layers`] | the middleware around every request |
//! | [`browser`], [`auth`] | pages of other sites; API keys and tenants |
//! | [`route`], [`routes`], [`unused`] | routes with their scopes; parameters and bodies that they would ignore |
//! | [`body`], [`response_budget`] | reading bodies; the memory of responses |
//! | [`path`], [`query`], [`pairs`], [`fields`], [`number`], [`base64`] | parsing parts of requests |
//! | [`wait`], [`content`] | waiting for a job; serving bytes of guests |
//! | [`error`], [`problem_code`] | problem details, and their codes |

pub mod auth;
pub(in crate::api) mod base64;
pub(in crate::api) mod body;
pub mod browser;
mod connection_slots;
pub(in crate::api) mod content;
pub(crate) mod error;
pub(crate) mod fields;
mod framing;
pub(in crate::api) mod layers;
mod linger;
mod number;
pub(in crate::api) mod pairs;
pub(in crate::api) mod path;
pub(crate) mod problem_code;
pub(in crate::api) mod query;
pub(in crate::api) mod response_budget;
pub(in crate::api) mod route;
pub(in crate::api) mod routes;
pub mod server;
mod stall;
mod unused;
pub(in crate::api) mod wait;
