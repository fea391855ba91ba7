//! Which endings of attempts are tried again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::limits::limit::Limit;

/// The maximum number of attempts of a job: the default of Sidekiq and River.
pub const MAX_ATTEMPTS_CAP: u16 = 25;

/// The attempts of a job that asks for no number: uploaded code tends to fail the same way again.
pub const DEFAULT_MAX_ATTEMPTS: u16 = 5;

/// A kind of ending that may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The guest reported a failure and did not rule out another try.
    Failed,
    /// The guest trapped, or the host panicked under it.
    Trapped,
    /// The time limit.
    Time,
    /// The fuel limit.
    Fuel,
    /// The memory limit.
    Memory,
    /// The output limit.
    Output,
    /// The stack limit.
    Stack,
    /// The limit on table elements.
    Tables,
    /// The limit on resource handles.
    Resources,
}

impl From<Limit> for Cause {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Fuel => Self::Fuel,
            Limit::Time => Self::Time,
            Limit::Memory => Self::Memory,
            Limit::Output => Self::Output,
            Limit::Stack => Self::Stack,
            Limit::Tables => Self::Tables,
            Limit::Resources => Self::Resources,
        }
    }
}

/// Which endings are tried again. By default those that another attempt may avoid: failures,
/// traps and time-outs; the same fuel, memory or output limit would be reached again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RetryPolicy(BTreeSet<Cause>);

impl Default for RetryPolicy {
    fn default() -> Self {
        Self(BTreeSet::from([Cause::Failed, Cause::Trapped, Cause::Time]))
    }
}

impl FromIterator<Cause> for RetryPolicy {
    fn from_iter<I: IntoIterator<Item = Cause>>(causes: I) -> Self {
        Self(causes.into_iter().collect())
    }
}

impl RetryPolicy {
    /// Whether an attempt that ended for this cause is tried again.
    #[must_use]
    pub fn allows(&self, cause: Cause) -> bool {
        self.0.contains(&cause)
    }
}
