//! A hold that came or went, whose jobs are moved some at a time.

use crate::hold::Hold;
use crate::job::id::JobId;

/// The progress of moving the jobs of a hold that came or went.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) hold: Hold,
    /// The job that was looked at last.
    pub(super) after: Option<JobId>,
}

/// Whether a hold is on plugins or code, and not on a queue or a tenant.
pub(super) fn covers_code(hold: &Hold) -> bool {
    !matches!(hold.of_any(), Hold::Queue { .. } | Hold::Tenant(_))
}
