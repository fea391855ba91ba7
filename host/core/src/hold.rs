//! Holds: paused queues, and disabled tenants, plugins, versions and digests. Claims skip the jobs under a
//! hold until it is released.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::job::spec::JobSpec;
use crate::plugin::name::PluginName;
use crate::plugin::version::Version;
use crate::queue::name::QueueName;
use crate::tenant::TenantName;

/// The labels of a job on which the order of claims, capacity and holds depend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLabels {
    /// Its tenant.
    pub tenant: TenantName,
    /// Its queue.
    pub queue: QueueName,
    /// Its plugin.
    pub plugin: PluginName,
    /// The version of its plugin.
    pub version: Version,
    /// The digest of its code.
    pub digest: Digest,
}

impl From<&JobSpec> for Arc<JobLabels> {
    fn from(spec: &JobSpec) -> Self {
        Self::new(spec.into())
    }
}

impl From<&JobSpec> for JobLabels {
    fn from(spec: &JobSpec) -> Self {
        Self {
            tenant: spec.tenant.clone(),
            queue: spec.queue.clone(),
            plugin: spec.plugin.clone(),
            version: spec.version.clone(),
            digest: spec.digest,
        }
    }
}

/// A version of the controls of a store. It grows with each change of a hold, by any host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ControlsVersion(u64);

impl ControlsVersion {
    /// The version with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The holds of a store at one version of its controls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionedHolds {
    /// The version: every change up to it is included, and no later one.
    pub version: ControlsVersion,
    /// The holds, with the note of each.
    pub holds: BTreeMap<Hold, HoldNote>,
}

/// A change of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldChange {
    /// The hold.
    pub hold: Hold,
    /// Whether it was set; otherwise it was released.
    pub held: bool,
    /// The version of the controls from this change on.
    pub version: ControlsVersion,
}

/// A hold, by the jobs that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Hold {
    /// The jobs of a paused queue. Running attempts continue.
    Queue {
        /// The tenant.
        tenant: TenantName,
        /// The queue.
        queue: QueueName,
    },
    /// The jobs of a disabled tenant.
    Tenant(TenantName),
    /// The jobs of a disabled plugin.
    Plugin {
        /// The tenant.
        tenant: TenantName,
        /// The plugin.
        plugin: PluginName,
    },
    /// The jobs of a disabled version.
    Version {
        /// The tenant.
        tenant: TenantName,
        /// The plugin.
        plugin: PluginName,
        /// The version.
        version: Version,
    },
    /// The jobs of all tenants that run these bytes.
    Digest(Digest),
    /// The same hold by the operator, separate from the tenant's, which the tenant cannot release.
    Operator(Box<Hold>),
}

/// By whom, when and why a hold was set. Holds of earlier versions have no note.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HoldNote {
    /// The id of the key, or what stands in for one.
    #[serde(default)]
    pub by: Option<String>,
    /// When it was set.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The reason, in their own words; at most [`MAX_REASON_BYTES`].
    #[serde(default)]
    pub reason: Option<String>,
}

/// The longest reason, in bytes: some sentences, and a link.
pub const MAX_REASON_BYTES: usize = 500;

/// Text that is not a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidReason {
    /// It is too long.
    #[error("a reason has at most {MAX_REASON_BYTES} bytes; this one has {0}")]
    Length(usize),
    /// It has a control character.
    #[error("a reason is one line of text, without control characters")]
    Control,
}

impl HoldNote {
    /// Adds a reason. An empty one is ignored.
    ///
    /// # Errors
    /// [`InvalidReason`].
    pub fn because(mut self, reason: &str) -> Result<Self, InvalidReason> {
        let reason = reason.trim();
        if reason.len() > MAX_REASON_BYTES {
            return Err(InvalidReason::Length(reason.len()));
        }
        if reason.chars().any(char::is_control) {
            return Err(InvalidReason::Control);
        }
        self.reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        Ok(self)
    }
}

impl Hold {
    /// Whether it covers a job with these labels.
    #[must_use]
    pub fn covers(&self, labels: &JobLabels) -> bool {
        match self {
            Self::Queue { tenant, queue } => (tenant, queue) == (&labels.tenant, &labels.queue),
            Self::Tenant(tenant) => tenant == &labels.tenant,
            Self::Plugin { tenant, plugin } => (tenant, plugin) == (&labels.tenant, &labels.plugin),
            Self::Version { tenant, plugin, version } => {
                (tenant, plugin, version) == (&labels.tenant, &labels.plugin, &labels.version)
            }
            Self::Digest(digest) => *digest == labels.digest,
            Self::Operator(hold) => hold.covers(labels),
        }
    }

    /// The same hold by the operator. Holds that only the operator can set are returned as they are.
    #[must_use]
    pub fn by_operator(self) -> Self {
        match self {
            Self::Tenant(_) | Self::Digest(_) | Self::Operator(_) => self,
            Self::Queue { .. } | Self::Plugin { .. } | Self::Version { .. } => {
                Self::Operator(Box::new(self))
            }
        }
    }

    /// The hold without the mark of the operator.
    #[must_use]
    pub(crate) fn of_any(&self) -> &Self {
        match self {
            Self::Operator(hold) => hold.of_any(),
            hold => hold,
        }
    }

    /// The tenant that owns the hold; `None` for holds of the operator.
    #[must_use]
    pub fn owner(&self) -> Option<&TenantName> {
        match self {
            Self::Queue { tenant, .. }
            | Self::Plugin { tenant, .. }
            | Self::Version { tenant, .. } => Some(tenant),
            Self::Tenant(_) | Self::Digest(_) | Self::Operator(_) => None,
        }
    }

    /// Whether it covers jobs of `tenant` only, set by the tenant or by the operator.
    #[must_use]
    pub fn is_of(&self, tenant: &TenantName) -> bool {
        match self {
            Self::Tenant(held) => held == tenant,
            Self::Operator(hold) => hold.is_of(tenant),
            Self::Digest(_) => false,
            Self::Queue { .. } | Self::Plugin { .. } | Self::Version { .. } => {
                self.owner() == Some(tenant)
            }
        }
    }

    /// Whether `set` contains it, by the tenant or by the operator.
    #[must_use]
    pub fn is_in(&self, set: &BTreeSet<Self>) -> bool {
        set.contains(self) || set.contains(&self.clone().by_operator())
    }

    /// Whether it disables, so that attempts in flight are stopped too.
    #[must_use]
    pub fn stops(&self) -> bool {
        match self {
            Self::Queue { .. } => false,
            Self::Operator(hold) => hold.stops(),
            Self::Tenant(_) | Self::Plugin { .. } | Self::Version { .. } | Self::Digest(_) => true,
        }
    }

    /// Every hold that would cover a job with these labels, without [those of the operator](Self::by_operator).
    #[must_use]
    pub fn over(labels: &JobLabels) -> [Self; 5] {
        let JobLabels { tenant, queue, plugin, version, digest } = labels.clone();
        [
            Self::Queue { tenant: tenant.clone(), queue },
            Self::Tenant(tenant.clone()),
            Self::Plugin { tenant: tenant.clone(), plugin: plugin.clone() },
            Self::Version { tenant, plugin, version },
            Self::Digest(digest),
        ]
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { queue, .. } => write!(f, "queue {queue}"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Plugin { plugin, .. } => write!(f, "plugin {plugin}"),
            Self::Version { plugin, version, .. } => write!(f, "{plugin}@{version}"),
            Self::Digest(digest) => write!(f, "the code {digest}"),
            Self::Operator(hold) => hold.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        let because = |reason: &str| HoldNote::default().because(reason).map(|note| note.reason);
        assert_eq!(because(" it loops ä "), Ok(Some("it loops ä".to_owned())));
        assert_eq!(because("  "), Ok(None));
        assert_eq!(because(&"x".repeat(MAX_REASON_BYTES)).map(|it| it.is_some()), Ok(true));
        let long = "x".repeat(MAX_REASON_BYTES + 1);
        assert_eq!(because(&long), Err(InvalidReason::Length(long.len())));
        assert_eq!(because("a\nb"), Err(InvalidReason::Control));
    }

    #[test]
    fn a_hold_covers_what_it_names_and_nothing_else() {
        let labels = |tenant: &str, plugin: &str, version: &str| JobLabels {
            tenant: tenant.parse().expect("a name"),
            queue: QueueName::default(),
            plugin: plugin.parse().expect("a name"),
            version: version.parse().expect("a version"),
            digest: Digest::of(plugin.as_bytes()),
        };
        let job = labels("acme", "p", "1.0.0");
        let others = [
            labels("other", "p", "1.0.0"),
            labels("acme", "q", "1.0.0"),
            labels("acme", "p", "2.0.0"),
        ];
        let covered = |hold: &Hold| others.each_ref().map(|other| hold.covers(other));
        let [queue, tenant, plugin, version, digest] = Hold::over(&job);
        for hold in [&queue, &tenant, &plugin, &version, &digest] {
            assert!(hold.covers(&job), "{hold:?}");
        }
        assert_eq!(covered(&queue), [false, true, true]);
        assert_eq!(covered(&tenant), [false, true, true]);
        assert_eq!(covered(&plugin), [false, false, true]);
        assert_eq!(covered(&version), [false, false, false]);
        assert_eq!(covered(&digest), [true, false, true]);
        assert!(!queue.stops() && plugin.stops());
        for hold in [queue, tenant, plugin, version, digest] {
            let operators = hold.clone().by_operator();
            assert_eq!(covered(&operators), covered(&hold));
            assert!(operators.covers(&job) && operators.stops() == hold.stops());
            assert_eq!(operators.owner(), None);
        }
    }
}
