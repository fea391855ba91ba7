//! Accepts jobs, for every way in: one job, many jobs in one request, a retry.
//!
//! 1. its key: a job that was accepted before is answered so, regardless of later changes;
//! 2. its fields; the plugin, with its digest pinned; its limits, and other fields that depend on the plugin;
//! 3. holds: disabled tenants, plugins, versions and digests;
//! 4. the submitter's key and tenant, which may be revoked or disabled meanwhile;
//! 5. the floor of free disk space;
//! 6. the rate of its tenant;
//! 7. room in its queue, for which a submitter may wait.
//!
//! From step 2 on, the plugin cannot be removed until the store has answered. Nothing here knows
//! HTTP.

mod answers;
mod checks;
mod deterministic;
mod draft;
mod floor;
mod installed;
mod pace;
mod plugin_locks;
mod refused;
mod submission;
mod submit;

pub use self::checks::IntakeSettings;
pub use self::draft::{Due, JobDraft, JobOptions, TOO_FAR, fault_of_payload, faults_of_backoff};
pub use self::plugin_locks::PluginLocks;
pub use self::refused::{FieldFault, NotAdmitted, Refused};
pub use self::submission::{Accepted, Answer, Order, RequestKey, Submission, Submitter};
pub use self::submit::Intake;
