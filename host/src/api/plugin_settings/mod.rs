//! The settings of a plugin: parsing and changing them.

pub(in crate::api) mod configure;
mod exit_codes;
pub(crate) mod grants;
pub(in crate::api) mod limits;
pub(in crate::api) mod retries;
