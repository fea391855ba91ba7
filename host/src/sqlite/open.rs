//! How connections to a database are opened: for its writer, for readers, and for checkpoints.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// How long a statement waits for another connection.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the database at `path` for its writer, and applies the schema `steps` that it lacks.
///
/// # Errors
/// If it cannot be written, or was written by a newer version of Jobwright.
pub(crate) fn open(path: &Path, steps: &[&str]) -> anyhow::Result<Connection> {
    let failed = || format!("cannot open the store {}", path.display());
    let connection = Connection::open(path).with_context(failed)?;
    prepare(&connection, steps).with_context(failed)?;
    Ok(connection)
}

pub(crate) fn prepare(connection: &Connection, steps: &[&str]) -> anyhow::Result<()> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = steps.len();
    let Some(missing) = steps.get(found as usize..) else {
        bail!(
            "it was written by a newer version of jobwright (schema {found}; this one knows up to \
             {known}): use that version, or another data directory"
        );
    };
    // One more than the writer's own statements; all of them stay prepared.
    connection.set_prepared_statement_cache_capacity(64);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        bail!(
            "its file system cannot keep a write-ahead log (journal mode is {mode}): use a local disk"
        );
    }
    connection.execute_batch(
        // 8,000 pages: a checkpoint each 32 MiB of log, some tens of milliseconds of the writer.
        // What a burst made of it goes again. The page cache holds what a few groups of commands
        // touch: SQLite walks its whole table at the end of most transactions, because a
        // rearrangement of pages moves one far beyond the end of the file for a moment.
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192;",
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_plans(connection)?;
    if !missing.is_empty() {
        let missing = missing.concat();
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {missing} PRAGMA user_version = {known}; COMMIT;"
        ))?;
    }
    Ok(())
}

/// Opens a database that its writer has made, to checkpoint it.
pub(super) fn open_beside(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Keeps the plan of a prepared statement for all bound values; otherwise SQLite plans a join again
/// at each call.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Opens a database that its writer has made, for reading only.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_plans(&connection)?;
    Ok(connection)
}
