//! The settings of a plugin, each read and checked as a request gives it.

pub(in crate::api) mod configure;
mod exit_codes;
pub(crate) mod grants;
pub(in crate::api) mod limits;
