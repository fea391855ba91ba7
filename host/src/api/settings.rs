//! The configuration of the HTTP interface.

use std::path::PathBuf;

use jobwright_core::capacity::CapacityLimits;
use jobwright_core::limits::LimitPolicy;

use super::http::auth::ApiKeys;
use super::http::browser::AllowedHosts;

/// The configuration of the HTTP interface.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// The default limits of jobs, and their ceilings.
    pub limits: LimitPolicy,
    /// The capacity of queues.
    pub capacity: CapacityLimits,
    /// The maximum length of a payload.
    pub payload_bytes: u64,
    /// The maximum length of a plugin.
    pub plugin_bytes: u64,
    /// The data directory.
    pub data: PathBuf,
    /// The floor: jobs and plugins are refused while the file system has less free space.
    pub free_bytes: u64,
    /// The API keys of the operator's file.
    pub keys: ApiKeys,
    /// The names that the header `Host` may have.
    pub allowed_hosts: AllowedHosts,
}

impl ApiSettings {
    /// The maximum length of the JSON of a job. base64 in lines, and strings with all characters escaped
    /// (`\u00e4` for two bytes), have at most three times the length of the payload.
    pub(super) fn job_bytes(&self) -> u64 {
        self.payload_bytes.saturating_mul(3).saturating_add(64 << 10)
    }
}
