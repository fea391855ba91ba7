//! The job store as four traits, by their callers. Every driver obeys the laws of the conformance
//! suite.
//!
//! | module | owns |
//! |---|---|
//! | [`jobs`] | changes of jobs: [`JobStore`] |
//! | [`reads`] | reads of jobs: [`JobReads`] |
//! | [`controls`] | settings of administrators: [`Controls`] |
//! | [`traces`] | what attempts leave while they run: [`AttemptTraces`] |
//! | [`error`] | the failure of a store, as opposed to an expected answer |
//!
//! # Staleness
//!
//! Hosts may share a store, a plugin registry, API keys and secrets. An `async` method of their traits
//! answers with what is committed when it is called, by any host. A method that is not `async` answers from
//! the memory of this host, and so does what follows the [stream of changes](crate::change), such as the
//! host's view of what is disabled. For these answers an implementation keeps this bound:
//!
//! - a change by this host is included from its answer on;
//! - a change by another host is included 1 s after its commit if the implementation is notified of
//!   changes, and else at the next heartbeat, at which it reads them again;
//! - if it cannot read them, and its memory is older than that, a method that returns a `Result` fails with
//!   [`StoreError::Unavailable`]; it never answers with older data.
//!
//! The stores, the registry and the keys on the disk of one host have a single host, so everything is
//! effective at once. Decisions that must not be made on old data are made by the commands themselves: a
//! claim applies the holds and limits that are committed, and an administrative action is recorded only if
//! its key is valid in the same transaction.

mod controls;
pub(crate) mod error;
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
