//! The embedded SQLite engine: used by every store that keeps its own database.
//!
//! | module | owns |
//! |---|---|
//! | [`open`] | how connections are opened, and schema steps |
//! | [`writer`] | one thread that writes, with group commit |
//! | [`commands`] | commands that wait for the writer, and their results |
//! | [`syncs`] | syncs of the write-ahead log, on a thread of their own |
//! | [`durable`] | which commits are on disk |
//! | [`health`] | the fault that stopped a writer |
//! | [`readers`] | read-only connections |
//! | [`checkpoints`] | checkpoints of the write-ahead log on a thread of their own |
//! | [`wal`] | damage of a write-ahead log, found before SQLite opens it |
//! | [`columns`] | how values are written in columns |
//! | [`pages`], [`vacuum`] | the disk space of a database, and shrinking it |

pub(crate) mod checkpoints;
pub(crate) mod columns;
mod commands;
mod durable;
mod health;
pub(crate) mod open;
pub(crate) mod pages;
pub(crate) mod readers;
mod syncs;
pub(crate) mod vacuum;
pub(crate) mod wal;
pub(crate) mod writer;
