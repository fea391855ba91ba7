//! How requests are read and answered, whatever they are about: connections, credentials, bodies, queries,
//! problems, and the budgets that tenants share.

pub(in crate::api) mod answers;
pub mod auth;
pub(in crate::api) mod base64;
pub(in crate::api) mod body;
pub mod browser;
pub(in crate::api) mod content;
pub(crate) mod error;
pub(crate) mod fields;
mod framing;
pub(in crate::api) mod layers;
mod linger;
mod number;
pub(in crate::api) mod pairs;
pub(in crate::api) mod path;
mod places;
pub(in crate::api) mod query;
pub(in crate::api) mod route;
pub(in crate::api) mod routes;
pub mod server;
mod stall;
mod unused;
pub(in crate::api) mod wait;
