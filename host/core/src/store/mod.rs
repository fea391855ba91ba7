//! The seam to where jobs are kept, as four traits by who uses them. Every driver keeps the laws of the
//! conformance suite.
//!
//! | module | owns |
//! |---|---|
//! | [`jobs`] | what changes jobs: [`JobStore`] |
//! | [`reads`] | what reads them: [`JobReads`] |
//! | [`controls`] | what administrators set: [`Controls`] |
//! | [`traces`] | what attempts leave while they run: [`AttemptTraces`] |
//! | [`error`] | the failure of a store, as opposed to an expected answer |

mod controls;
mod error;
mod jobs;
mod reads;
mod traces;

pub use self::controls::Controls;
pub use self::error::StoreError;
pub use self::jobs::{Claimed, Enqueued, Finish, Finished, JobStore, Leased, Redriven, Retention};
pub use self::reads::{AttemptLog, ChangedSince, JobFilter, JobPage, JobReads, Page};
pub use self::traces::AttemptTraces;
pub use crate::queue::{Claim, Renewal};

/// A store: everything that a host needs of one.
pub trait Store: JobStore + JobReads + Controls + AttemptTraces {}

impl<S: JobStore + JobReads + Controls + AttemptTraces> Store for S {}
