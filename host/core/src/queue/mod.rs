//! The queue: the scheduling facts of every unfinished job, ordered for claiming. It decides which job
//! is claimed next and which lease is valid; it has no payloads, no files and no clock.
//!
//! The [ledger](crate::ledger) of every store has one, so stores cannot disagree about what a claim means.
//!
//! | module | owns |
//! |---|---|
//! | [`order`] | which of the jobs that are due begins next: a pure function, for every driver |
//! | [`index`] | every unfinished job, in each order in which it is looked for |
//! | [`entry`] | the facts of each job |
//! | [`waiting`] | jobs that are not due yet |
//! | [`in_use`] | what a tenant or a lane uses of each host |
//! | [`lane`], [`tenant`], [`lanes`] | jobs that are due, by tenant and queue, in the order of claims |
//! | [`claim`], [`leases`] | which jobs begin, and the leases of those that run |
//! | [`hosts`] | the attempts in flight on each host, and its signs of life |
//! | [`holding`], [`sweep`] | holds: paused queues, disabled tenants and plugins |
//! | [`counts`], [`counting`] | how many jobs each queue has |
//! | [`restart`] | what a queue keeps when its host starts again |
//!
//! Tenants share the workers, and so do the queues of a tenant. Jobs under a [hold](crate::hold::Hold) are
//! skipped. A job that needs more memory than is free makes those behind it wait rather than starve.

mod claim;
mod counting;
mod counts;
mod entry;
mod holding;
mod hosts;
mod in_use;
mod index;
mod lane;
mod lanes;
mod leases;
pub mod name;
pub mod order;
mod restart;
mod sweep;
mod tenant;
mod waiting;

pub use self::claim::Claim;
pub use self::counts::QueueCounts;
pub use self::entry::{Entry, Standing};
pub use self::hosts::Holder;
pub use self::index::Queue;
pub use self::leases::Renewal;
pub use self::name::QueueName;
pub use self::order::{Reserve, Room};

#[cfg(test)]
mod tests;
