//! Drivers of [`Store`](jobwright_core::Store): in memory, and embedded SQLite.
//!
//! A driver is [`Rows`](jobwright_core::ledger::Rows) and an [`Engine`](ledgered::Engine) that runs
//! commands on the ledger above them; [`ledgered`] makes a store of these, once for all drivers. No driver
//! decides anything about a job. Beside them, in [`access`], API keys and the audit log are kept.

pub mod access;
#[cfg(test)]
mod drafts;
pub mod embedded;
pub mod ledgered;
pub mod memory;
