//! The capacity of a store.
//!
//! A permit for every unfinished job, held from acceptance to finalization, so that a full queue is
//! refused at once. A queue has two bounds: one on the jobs that are due or running, one on those that
//! are parked (scheduled, or waiting for a retry), so that the retries of an outage elsewhere do not
//! close the intake. A new job needs a place on the side where it starts. An accepted job changes sides
//! without being refused; new jobs are refused until the side is below its bound again.
//!
//! There are also bounds on outputs, logs and checkpoints: above them, the oldest ones are removed.
//!
//! | module | owns |
//! |---|---|
//! | [`permits`] | a permit for each unfinished job |
//! | [`used`], [`side`], [`limits`], [`full`] | the bounds, and why a job is refused |
//! | [`uses`] | which versions of plugins unfinished jobs need |
//! | [`keys`] | the idempotency keys in use |
//! | [`held`], [`checkpoints`] | the sizes of data that is trimmed above a bound |

mod checkpoints;
pub mod full;
mod held;
mod keys;
pub mod limits;
mod permits;
pub mod side;
mod used;
mod uses;

pub use self::checkpoints::Checkpoints;
pub use self::full::QueueFull;
pub use self::held::HeldBytes;
pub use self::keys::HeldKeys;
pub use self::limits::{CapacityLimits, HEAD_START, KeptLimits};
pub use self::permits::{Capacity, Permit};
pub use self::side::Side;

#[cfg(test)]
mod tests;
