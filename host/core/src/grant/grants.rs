//! The grants of a plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::determinism::Determinism;
use super::http::{HttpGrant, HttpLimits};
use super::secret_name::SecretName;

/// The grants of a plugin; none by default. They are read at the start of each attempt, so that withdrawing a
/// grant also affects jobs that wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// HTTP requests that the plugin may send: those that one of these allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// Limits on the number and size of HTTP requests.
    #[serde(skip_serializing_if = "HttpLimits::is_default")]
    pub http_limits: HttpLimits,
    /// A key-value store, which persists from one job of the plugin to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_value: Option<KeyValueGrant>,
    /// The values that `wasi:config` returns.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The secrets of which it gets a [placeholder](SecretName::placeholder), as a variable and in its
    /// configuration.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<SecretName>,
    /// Variables, which those of a job override.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The resolution of its clocks, in microseconds; absent for [`CLOCK_PRECISION_US`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_precision_us: Option<NonZeroU32>,
    /// Whether jobs see a clock and random bytes that are the same at every attempt.
    #[serde(skip_serializing_if = "Determinism::is_never")]
    pub deterministic: Determinism,
}

/// The default step of the clocks of a guest, in microseconds: fine enough to measure the job itself, and too
/// coarse to measure other jobs on the host.
pub const CLOCK_PRECISION_US: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

impl Grants {
    /// Whether nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything is granted that reaches beyond the sandbox, or comes from there: a replay on another
    /// host lacks it.
    #[must_use]
    pub fn reach_outside(&self) -> bool {
        let Self { http, key_value, config, secrets, env, .. } = self;
        let none = http.is_empty() && config.is_empty() && secrets.is_empty() && env.is_empty();
        !none || key_value.is_some()
    }

    /// The grants that allow a request with `method` to the address `to`. One of them must also
    /// allow every IP address of the name.
    pub fn allowing<'a>(
        &'a self,
        method: &'a http::Method,
        to: &'a http::Uri,
    ) -> impl Iterator<Item = &'a HttpGrant> {
        self.http.iter().filter(move |grant| grant.allows(method, to))
    }

    /// The variables that an attempt sees of its grants: those set, and a placeholder for each secret.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        Self::with_placeholders(&self.env, &self.secrets)
    }

    /// The variables that an attempt at a job with the variables `env` sees: the job's override
    /// those of the grants, except placeholders of secrets.
    #[must_use]
    pub fn variables_under(&self, env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let is_secret = |name: &String| self.secrets.iter().any(|secret| secret.as_str() == name);
        let of_job = env.iter().filter(|(name, _)| !is_secret(name));
        self.variables().chain(of_job.map(|(name, value)| (name.clone(), value.clone()))).collect()
    }

    /// The values that `wasi:config` returns: those set, and a placeholder for each secret.
    pub fn configuration(&self) -> impl Iterator<Item = (String, String)> {
        Self::with_placeholders(&self.config, &self.secrets)
    }

    fn with_placeholders(
        values: &BTreeMap<String, String>,
        secrets: &BTreeSet<SecretName>,
    ) -> impl Iterator<Item = (String, String)> {
        let values = values.iter().map(|(name, value)| (name.clone(), value.clone()));
        values.chain(secrets.iter().map(|name| (name.to_string(), name.placeholder())))
    }
}

/// The grant of a key-value store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValueGrant {
    /// All keys and values together, in bytes, with the overhead of each entry.
    pub bytes: u64,
}
