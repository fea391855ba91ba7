//! The specification of a job: what the submitter asked for, complete and fixed at enqueue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::priority::Priority;
use crate::digest::Digest;
use crate::exit_codes::ExitCodes;
use crate::grant::grants::Grants;
use crate::limits::effective::Limits;
use crate::plugin::name::PluginName;
use crate::plugin::version::Version;
use crate::queue::name::QueueName;
use crate::retry::backoff::Backoff;
use crate::retry::policy::{DEFAULT_MAX_ATTEMPTS, RetryPolicy};
use crate::tenant::TenantName;

/// The specification of a job, complete and fixed at enqueue: a later change of the plugin, its settings
/// or the operator's defaults does not reach a job that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Its tenant.
    #[serde(default, skip_serializing_if = "TenantName::is_default")]
    pub tenant: TenantName,
    /// The plugin's name.
    pub plugin: PluginName,
    /// The version that the reference resolved to.
    pub version: Version,
    /// The digest of the code that every attempt runs.
    pub digest: Digest,
    /// Its queue.
    pub queue: QueueName,
    /// How urgent it is.
    pub priority: Priority,
    /// How often it may fail; 1 to 25. Lost and released attempts are not counted.
    pub max_attempts: u16,
    /// How long after it is due its first attempt may begin, in milliseconds; absent for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// How long after its submission it must be finalized, in milliseconds; absent for no deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The limits of each attempt.
    pub limits: Limits,
    /// Which endings are tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// How long it waits between two attempts.
    #[serde(default, skip_serializing_if = "Backoff::is_default")]
    pub backoff: Backoff,
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
    /// Whether only a grant of the plugin allowed that, so that it ends when the grant is withdrawn.
    /// Administrators can ask for it without a grant. False for jobs of earlier versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deterministic_by_grant: bool,
    /// The media type of the output, if the plugin's settings fix one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_type: Option<String>,
    /// Whether the guest's environment has the host's variables, `JOBWRIGHT_…`.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub inject_env: bool,
    /// The meaning of the guest's exit codes, where it differs from the default.
    #[serde(default, skip_serializing_if = "ExitCodes::is_empty")]
    pub exit_codes: ExitCodes,
}

fn yes() -> bool {
    true
}

impl JobSpec {
    /// A specification with the defaults of hosts and plugins without settings.
    #[must_use]
    pub fn new(plugin: PluginName, version: Version, digest: Digest) -> Self {
        Self {
            tenant: TenantName::default(),
            plugin,
            version,
            digest,
            queue: QueueName::default(),
            priority: Priority::default(),
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            retry: RetryPolicy::default(),
            backoff: Backoff::default(),
            ttl_ms: None,
            deadline_ms: None,
            limits: Limits::DEFAULT,
            entrypoint: None,
            args: vec![],
            env: BTreeMap::new(),
            tags: vec![],
            deterministic: false,
            deterministic_by_grant: false,
            output_type: None,
            inject_env: true,
            exit_codes: ExitCodes::default(),
        }
    }

    /// Whether the clock and random bytes are no longer the same at every attempt, under the `grants` that
    /// the plugin has now.
    #[must_use]
    pub fn is_determinism_withdrawn(&self, grants: &Grants) -> bool {
        self.deterministic && self.deterministic_by_grant && grants.deterministic.is_never()
    }

    /// The size of the data that the host keeps until the job is finalized, in bytes: a payload of
    /// `payload_bytes`, the arguments, variables and tags.
    #[must_use]
    pub fn held_bytes(&self, payload_bytes: u64) -> u64 {
        let variables = self.env.iter().map(|(name, value)| name.len() + value.len());
        let strings = self.args.iter().chain(&self.tags).map(String::len).chain(variables);
        payload_bytes + strings.sum::<usize>() as u64
    }
}
