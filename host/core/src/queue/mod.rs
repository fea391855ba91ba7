//! The queue: the scheduling facts of every unfinished job, ordered for claiming. It decides which job
//! is claimed next and which lease is valid; it has no payloads, no files and no clock.
//!
//! The [ledger](crate::ledger) of every store has one, so stores cannot disagree about what a claim means.
//!
//! | module | owns |
//! |---|---|
//! | [`index`] | every unfinished job, in each order in which it is looked for |
//! | [`entry`] | the facts of each job, and its sort key |
//! | [`waiting`] | jobs that are not due yet |
//! | [`lane`], [`lanes`] | jobs that are due, by tenant and queue, and which of them begins next |
//! | [`reserve`] | what large shares leave free |
//! | [`claim`], [`leases`] | which jobs begin, and the leases of those that run |
//! | [`holding`], [`sweep`] | holds: paused queues, disabled tenants and plugins |
//! | [`counts`], [`counting`] | how many jobs each queue has |
//! | [`restart`] | what a queue keeps when its host starts again |
//!
//! Order: tenants share the workers, and so do the queues of a tenant, which alternate while they have
//! equally many attempts in flight. Within a queue, jobs go by their sort key: the time at which they are
//! due, later by a head start for each level of priority, so that no job starves. Jobs under a
//! [hold](crate::hold::Hold) are skipped. A job that needs more memory than is free makes those behind it
//! wait rather than starve. Suspects (jobs with a lost attempt that counts) are skipped while another one
//! is watched, and for a while those that must run alone: a host that was killed with all its slots in use
//! must not try them one by one before anything else.

mod claim;
mod counting;
mod counts;
mod entry;
mod holding;
mod index;
mod lane;
mod lanes;
mod leases;
pub mod name;
pub mod reserve;
mod restart;
mod sweep;
mod waiting;

pub use self::claim::Claim;
pub use self::counts::QueueCounts;
pub use self::entry::{Entry, Holder, Standing};
pub use self::index::Queue;
pub use self::leases::Renewal;
pub use self::name::QueueName;
pub use self::reserve::{Reserve, Room};

#[cfg(test)]
mod tests;
