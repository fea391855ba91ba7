//! What an operator decides about the interface.

use std::path::PathBuf;

use jobwright_core::capacity::CapacityLimits;
use jobwright_core::limits::LimitPolicy;

use super::http::auth::ApiKeys;
use super::http::browser::AllowedHosts;

/// What an operator decides about the interface.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Limits that jobs get and may ask for.
    pub limits: LimitPolicy,
    /// How many unfinished jobs queues may hold.
    pub capacity: CapacityLimits,
    /// The longest payload, in bytes.
    pub payload_bytes: u64,
    /// The longest plugin, in bytes.
    pub plugin_bytes: u64,
    /// The data directory.
    pub data: PathBuf,
    /// How much of its file system is to stay free, in bytes.
    pub free_bytes: u64,
    /// The keys that may ask.
    pub keys: ApiKeys,
    /// The names under which the host may be asked.
    pub allowed_hosts: AllowedHosts,
}

impl ApiSettings {
    /// The longest JSON of a job, in bytes: base64 in lines, and text whose characters are all escaped as
    /// most JSON libraries do it (`\u00e4` for two bytes), take three times the payload at the most.
    pub(super) fn job_bytes(&self) -> u64 {
        self.payload_bytes.saturating_mul(3).saturating_add(64 << 10)
    }
}
