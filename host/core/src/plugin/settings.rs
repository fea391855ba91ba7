//! The settings of a plugin, which apply to all its versions.

use serde::{Deserialize, Serialize};

use super::version::Version;
use crate::exit_codes::ExitCodes;
use crate::grant::grants::Grants;
use crate::limits::request::LimitsRequest;
use crate::retry::backoff::Backoff;
use crate::retry::policy::RetryPolicy;

/// The settings of a plugin, for all its versions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginSettings {
    /// For jobs that set no limits.
    pub limits: LimitsRequest,
    /// The endings that are retried; absent for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryPolicy>,
    /// How long its jobs wait between two attempts; absent for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// The media type of its outputs; absent to guess from the bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_type: Option<String>,
    /// The version that a bare name means; absent for the one uploaded last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_version: Option<Version>,
    /// Whether its environment has the host's variables, `JOBWRIGHT_…`; absent for yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inject_env: Option<bool>,
    /// The meaning of its exit codes, where it differs from the default.
    #[serde(skip_serializing_if = "ExitCodes::is_empty")]
    pub exit_codes: ExitCodes,
    /// Its grants.
    #[serde(skip_serializing_if = "Grants::is_empty")]
    pub grants: Grants,
}
