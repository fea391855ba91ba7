//! Committed changes: what a store publishes after each commit.
//!
//! A store publishes one [`Change`] for every transition of a job and for every change of a hold or of a
//! tenant's limits, in the order of the commits. Waiters, the worker's wake-ups and the stopping of
//! attempts are subscribers; no code infers events from the arguments of a call.

mod event;
mod position;
mod stream;
mod token;

pub use self::event::{Change, Event, JobEvent, Transition};
pub use self::position::Position;
pub use self::stream::{ChangeStream, Listener, RING};
pub use self::token::{InvalidToken, ResumeToken};
