//! The key of the code that an attempt needs.

use jobwright_core::attempt::Attempt;
use jobwright_core::plugin::Digest;
use serde::{Deserialize, Serialize};

use super::super::profile::Profile;

/// The code of a plugin, compiled in one of two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in super::super) struct CodeKey {
    pub(in super::super) digest: Digest,
    pub(in super::super) profile: Profile,
}

impl CodeKey {
    /// The code that `attempt` needs.
    pub(in super::super) fn of(attempt: &Attempt) -> Self {
        let profile = Profile::of(attempt.limits.fuel);
        Self { digest: attempt.job.spec.digest, profile }
    }
}
