//! The specification of a job: what the submitter asked for, complete and fixed at enqueue.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::priority::Priority;
use crate::digest::Digest;
use crate::exit_codes::ExitCodes;
use crate::grant::grants::Grants;
use crate::limits::effective::Limits;
use crate::plugin::name::PluginName;
use crate::plugin::version::Version;
use crate::queue::name::QueueName;
use crate::retry::policy::RetryPolicy;
use crate::tenant::TenantName;

/// How far ahead a job may be scheduled, and the longest wait that a guest may ask for.
pub const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What was asked for, complete and fixed at enqueue: a later change of the plugin, its settings
/// or the operator's defaults does not reach a job that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Whose it is.
    #[serde(default, skip_serializing_if = "TenantName::is_default")]
    pub tenant: TenantName,
    /// The plugin's name.
    pub plugin: PluginName,
    /// The version that the reference resolved to.
    pub version: Version,
    /// The code itself: every attempt runs these bytes.
    pub digest: Digest,
    /// Where the job waits.
    pub queue: QueueName,
    /// How urgent it is.
    pub priority: Priority,
    /// How often it may fail; 1 to 25. Lost and released attempts are not counted.
    pub max_attempts: u16,
    /// What each attempt may use.
    pub limits: Limits,
    /// Which endings are tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Which export runs, for plugins that may have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// Arguments of the command, after its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables of the command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Labels for people and filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether the guest sees a clock and random bytes that are the same at every attempt.
    #[serde(default)]
    pub deterministic: bool,
    /// Whether that was allowed by nothing but a grant of the plugin, so that it ends when the grant is
    /// withdrawn: administrators may ask for it without one. False of jobs of earlier versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deterministic_by_grant: bool,
    /// The media type of the output, if the plugin's settings fix one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_type: Option<String>,
    /// Whether the guest's environment has the host's variables, `JOBWRIGHT_…`.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub inject_env: bool,
    /// What the guest's exit codes mean, where that is not the usual.
    #[serde(default, skip_serializing_if = "ExitCodes::is_empty")]
    pub exit_codes: ExitCodes,
}

fn yes() -> bool {
    true
}

impl JobSpec {
    /// Whether the clock and random bytes are no longer the same at every attempt, under the `grants` that
    /// the plugin has now.
    #[must_use]
    pub fn is_determinism_withdrawn(&self, grants: &Grants) -> bool {
        self.deterministic && self.deterministic_by_grant && grants.deterministic.is_never()
    }

    /// What a submitter makes the host hold until the job is finalized, in bytes: a payload of
    /// `payload_bytes`, with the arguments, variables and tags beside it.
    #[must_use]
    pub fn held_bytes(&self, payload_bytes: u64) -> u64 {
        let variables = self.env.iter().map(|(name, value)| name.len() + value.len());
        let texts = self.args.iter().chain(&self.tags).map(String::len).chain(variables);
        payload_bytes + texts.sum::<usize>() as u64
    }
}
