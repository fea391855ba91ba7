//! Drivers of [`JobStore`](jobwright_core::JobStore): in memory, and embedded SQLite.
//!
//! Both are the queue of `jobwright-core` with a place for what it does not hold; neither decides
//! anything. Beside them, in [`access`], API keys and the audit log are kept.

pub mod access;
#[cfg(test)]
mod drafts;
pub mod memory;
pub mod sqlite;
