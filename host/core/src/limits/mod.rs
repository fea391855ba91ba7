//! Limits: what an attempt may use. A request is completed from the plugin's settings and the host's
//! defaults; an explicit value above the operator's ceiling is refused.
//!
//! | module | owns |
//! |---|---|
//! | [`limit`], [`fuel`] | the limits that a guest can reach |
//! | [`request`] | limits as a job or a plugin's settings ask for them |
//! | [`effective`] | limits as an attempt has them |
//! | [`policy`] | the operator's defaults and ceilings |
//! | [`compile`] | the limits of compiling a plugin |

pub mod bytes;
pub mod compile;
pub mod effective;
pub mod fuel;
pub mod limit;
pub mod policy;
pub mod request;

pub use self::bytes::show_bytes;
pub use self::compile::{CompileLimits, DEFAULT_STACK_BYTES, STACK_BYTES};
pub use self::effective::Limits;
pub use self::fuel::Fuel;
pub use self::limit::{Limit, flag};
pub use self::policy::{InvalidLimit, LimitPolicy};
pub use self::request::LimitsRequest;

#[cfg(test)]
mod tests;
