//! Drivers of [`Store`](jobwright_core::Store): in memory, and embedded SQLite.
//!
//! A driver is [`Rows`](jobwright_core::ledger::Rows), an [`Engine`](ledgered::Engine) that runs commands on
//! the ledger above them, and a [`View`](view::View) for reads; [`ledgered`] and [`reading`] make a store of
//! these, once for all drivers. No driver decides anything about a job. [`access`] stores API keys and the
//! audit log.

pub mod access;
#[cfg(test)]
mod drafts;
pub mod embedded;
pub mod ledgered;
pub mod memory;
mod reading;
pub mod view;
