//! Holds: what claims pass by until it is let go again. A paused queue is one, and so is a plugin,
//! a version, a digest or a tenant that someone has switched off.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::job::spec::JobSpec;
use crate::plugin::name::PluginName;
use crate::plugin::version::Version;
use crate::queue::name::QueueName;
use crate::tenant::TenantName;

/// What of a job the order of claims, its bounds and holds look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is.
    pub tenant: TenantName,
    /// Where it waits.
    pub queue: QueueName,
    /// What it runs.
    pub plugin: PluginName,
    /// Which version of that.
    pub version: Version,
    /// Which bytes.
    pub digest: Digest,
}

impl From<&JobSpec> for Facts {
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

/// Which jobs are held.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Hold {
    /// Those of a tenant's queue: it is paused. What runs goes on.
    Queue {
        /// Whose.
        tenant: TenantName,
        /// Which.
        queue: QueueName,
    },
    /// All of a tenant.
    Tenant(TenantName),
    /// All of a tenant's plugin.
    Plugin {
        /// Whose.
        tenant: TenantName,
        /// Which.
        plugin: PluginName,
    },
    /// Those of one version of it.
    Version {
        /// Whose.
        tenant: TenantName,
        /// Of which plugin.
        plugin: PluginName,
        /// Which.
        version: Version,
    },
    /// All that run these bytes, whosever they are.
    Digest(Digest),
    /// The same, by the operator: a hold of its own, so that nobody else lets it go.
    Operator(Box<Hold>),
}

/// Who holds something, since when and why. What an earlier version held has none of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HoldNote {
    /// The id of the key, or what stands in for one.
    #[serde(default)]
    pub by: Option<String>,
    /// When.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// Why, as they put it; at most [`MAX_REASON_BYTES`].
    #[serde(default)]
    pub reason: Option<String>,
}

/// The longest reason, in bytes: some sentences, and a link to where more is said.
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
    /// Says why. An empty reason is none.
    ///
    /// # Errors
    /// [`InvalidReason`], and there is none.
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
    /// Whether it holds a job with these facts.
    #[must_use]
    pub fn covers(&self, facts: &Facts) -> bool {
        match self {
            Self::Queue { tenant, queue } => (tenant, queue) == (&facts.tenant, &facts.queue),
            Self::Tenant(tenant) => tenant == &facts.tenant,
            Self::Plugin { tenant, plugin } => (tenant, plugin) == (&facts.tenant, &facts.plugin),
            Self::Version { tenant, plugin, version } => {
                (tenant, plugin, version) == (&facts.tenant, &facts.plugin, &facts.version)
            }
            Self::Digest(digest) => *digest == facts.digest,
            Self::Operator(hold) => hold.covers(facts),
        }
    }

    /// The same hold by the operator. What only he can hold stays what it is.
    #[must_use]
    pub fn by_operator(self) -> Self {
        match self {
            Self::Tenant(_) | Self::Digest(_) | Self::Operator(_) => self,
            Self::Queue { .. } | Self::Plugin { .. } | Self::Version { .. } => {
                Self::Operator(Box::new(self))
            }
        }
    }

    /// The same hold, if it is not by the operator alone.
    #[must_use]
    pub(crate) fn of_any(&self) -> &Self {
        match self {
            Self::Operator(hold) => hold.of_any(),
            hold => hold,
        }
    }

    /// Which tenant's hold it is; none for the operator's.
    #[must_use]
    pub fn owner(&self) -> Option<&TenantName> {
        match self {
            Self::Queue { tenant, .. }
            | Self::Plugin { tenant, .. }
            | Self::Version { tenant, .. } => Some(tenant),
            Self::Tenant(_) | Self::Digest(_) | Self::Operator(_) => None,
        }
    }

    /// Whether it holds what is of `tenant` alone, also if the operator holds it.
    #[must_use]
    pub fn is_of(&self, tenant: &TenantName) -> bool {
        match self {
            Self::Tenant(held) => held == tenant,
            Self::Operator(hold) => hold.is_of(tenant),
            Self::Digest(_) => false,
            _ => self.owner() == Some(tenant),
        }
    }

    /// Whether `set` has it, or the operator's.
    #[must_use]
    pub fn is_in(&self, set: &BTreeSet<Self>) -> bool {
        set.contains(self) || set.contains(&self.clone().by_operator())
    }

    /// Whether what it holds is switched off, so that attempts in flight are stopped too.
    #[must_use]
    pub fn stops(&self) -> bool {
        match self {
            Self::Queue { .. } => false,
            Self::Operator(hold) => hold.stops(),
            _ => true,
        }
    }

    /// Every hold that would cover a job with these facts, but for [the operator's](Self::by_operator).
    #[must_use]
    pub fn over(facts: &Facts) -> [Self; 5] {
        let Facts { tenant, queue, plugin, version, digest } = facts.clone();
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
    fn a_hold_covers_what_it_names_and_nothing_beside() {
        let facts = |tenant: &str, plugin: &str, version: &str| Facts {
            tenant: tenant.parse().expect("a name"),
            queue: QueueName::default(),
            plugin: plugin.parse().expect("a name"),
            version: version.parse().expect("a version"),
            digest: Digest::of(plugin.as_bytes()),
        };
        let job = facts("acme", "p", "1.0.0");
        let others = [
            facts("other", "p", "1.0.0"),
            facts("acme", "q", "1.0.0"),
            facts("acme", "p", "2.0.0"),
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
