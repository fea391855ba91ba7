//! Accepting jobs, once for every way in: one job, many jobs in one request, a retry.
//!
//! [`Intake::submit`] has the checks in their order. First those that refuse a job for what it is, which no
//! repetition changes; then those that refuse it for now:
//!
//! 1. its key: a job that was accepted before is answered so, whatever has changed since;
//! 2. its fields; the plugin, with its digest pinned; its limits, and what else depends on the plugin;
//! 3. what is disabled;
//! 4. whether the submitter may still submit;
//! 5. the floor of free disk space;
//! 6. the rate of its tenant;
//! 7. room in its queue, for which a submitter may wait.
//!
//! From 2 on the plugin cannot be removed until the store has answered. Nothing here knows HTTP.

mod answers;
mod checks;
mod deterministic;
mod draft;
mod floor;
mod pace;
mod plugin_locks;
mod refused;
mod submission;
mod submit;

pub use self::checks::{IntakeSettings, Parts};
pub use self::draft::{Due, JobDraft, JobOptions, TOO_FAR, fault_of_payload};
pub use self::plugin_locks::PluginLocks;
pub use self::refused::{FieldFault, NotAdmitted, Refused};
pub use self::submission::{Accepted, Answer, Order, RequestKey, Submission, Submitter};
pub use self::submit::Intake;
