//! The limits that a job or the settings of a plugin ask for.

use serde::{Deserialize, Serialize};

use super::effective::Limits;
use super::fuel::Fuel;

/// The limits that a job or a plugin's settings ask for. An absent limit is taken from the settings, then
/// from the host's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(rename_all = "snake_case")]
pub struct LimitsRequest {
    /// See [`Limits::fuel`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<Fuel>,
    /// See [`Limits::timeout_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// See [`Limits::memory_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// See [`Limits::output_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// See [`Limits::log_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// See [`Limits::tables`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
    /// See [`Limits::resources`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<u64>,
    /// See [`Limits::checkpoint_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_bytes: Option<u64>,
    /// See [`Limits::grace_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

impl LimitsRequest {
    /// This request; its absent limits are taken from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            fuel: self.fuel.or(other.fuel),
            timeout_ms: self.timeout_ms.or(other.timeout_ms),
            memory_bytes: self.memory_bytes.or(other.memory_bytes),
            output_bytes: self.output_bytes.or(other.output_bytes),
            log_bytes: self.log_bytes.or(other.log_bytes),
            tables: self.tables.or(other.tables),
            resources: self.resources.or(other.resources),
            checkpoint_bytes: self.checkpoint_bytes.or(other.checkpoint_bytes),
            grace_ms: self.grace_ms.or(other.grace_ms),
        }
    }

    /// This request; its absent limits are taken from `limits`.
    pub(super) fn or_limits(self, limits: &Limits) -> Limits {
        Limits {
            fuel: self.fuel.unwrap_or(limits.fuel),
            timeout_ms: self.timeout_ms.unwrap_or(limits.timeout_ms),
            memory_bytes: self.memory_bytes.unwrap_or(limits.memory_bytes),
            output_bytes: self.output_bytes.unwrap_or(limits.output_bytes),
            log_bytes: self.log_bytes.unwrap_or(limits.log_bytes),
            tables: self.tables.unwrap_or(limits.tables),
            resources: self.resources.unwrap_or(limits.resources),
            checkpoint_bytes: self.checkpoint_bytes.unwrap_or(limits.checkpoint_bytes),
            grace_ms: self.grace_ms.unwrap_or(limits.grace_ms),
        }
    }
}
