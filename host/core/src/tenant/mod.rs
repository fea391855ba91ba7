//! Tenants: they share a host and cannot see each other.

mod budget;
mod pace;

use std::num::NonZeroU32;

pub use budget::{Budget, Full};
pub use pace::Pace;
use serde::{Deserialize, Serialize};

use crate::name::name_type;

name_type! {
    /// The name of a tenant.
    TenantName
}

impl Default for TenantName {
    /// The default tenant, which owns everything on a host without other tenants.
    fn default() -> Self {
        Self("default".into())
    }
}

impl TenantName {
    /// Whether it is the default tenant.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The limits of a tenant. An absent limit means that only the limits of the host apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantLimits {
    /// Unfinished jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<usize>,
    /// Bytes of their payloads and arguments, as [`JobSpec::held_bytes`](crate::JobSpec::held_bytes) counts
    /// it; and as much again of idempotency keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
    /// Attempts in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<usize>,
    /// Jobs that are accepted in a second, on the average; a burst may be of as many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs_per_second: Option<NonZeroU32>,
    /// Plugins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin_bytes: Option<u64>,
}
