//! The tables of `jobs.db`, and how a connection to it is opened.

use std::path::Path;

use anyhow::{Context as _, bail};
use rusqlite::{Connection, OpenFlags};

/// The tables of `jobs.db`, in the steps in which they came to be: a database of version N has had the
/// first N of them, and one with a higher version was written by a newer Jobwright.
const JOBS: &[&str] = &[TABLES, REPORTS, TENANTS];

/// As [`JOBS`], for `logs.db`.
const LOGS: &[&str] = &[LOG_TABLES];

/// `job` is hot: only unfinished jobs, nothing large. A finalized job's row moves to `history`.
/// Times are microseconds since 1970; states are the numbers of `rows::state`.
const TABLES: &str = "
CREATE TABLE job (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    payload_bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL,
    attempted_at INTEGER,
    finalized_at INTEGER,
    cancel_requested_at INTEGER,
    attempts TEXT NOT NULL,
    output_type TEXT,
    output_bytes INTEGER
);
CREATE TABLE history (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    payload_bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL,
    attempted_at INTEGER,
    finalized_at INTEGER,
    cancel_requested_at INTEGER,
    attempts TEXT NOT NULL,
    output_type TEXT,
    output_bytes INTEGER
);
CREATE INDEX history_by_end ON history (state, finalized_at);
CREATE TABLE payload (seq INTEGER PRIMARY KEY, content_type TEXT, bytes BLOB NOT NULL);
CREATE TABLE output (seq INTEGER PRIMARY KEY, content_type TEXT NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE idempotency (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    job BLOB NOT NULL,
    answer BLOB NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX idempotency_by_end ON idempotency (expires_at);
CREATE TABLE paused (queue TEXT PRIMARY KEY);
";

/// What attempts tell of themselves.
const REPORTS: &str = "
ALTER TABLE job ADD COLUMN progress TEXT;
ALTER TABLE history ADD COLUMN progress TEXT;
CREATE TABLE checkpoint (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
";

/// Whose jobs are, what tenants may take, and what is held: holds as JSON, paused queues among them.
const TENANTS: &str = "
ALTER TABLE job ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
ALTER TABLE history ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
CREATE INDEX history_by_tenant ON history (tenant, id);
CREATE TABLE tenant (name TEXT PRIMARY KEY, limits TEXT NOT NULL);
CREATE TABLE hold (hold TEXT PRIMARY KEY);
INSERT INTO hold
    SELECT json_object('queue', json_object('tenant', 'default', 'queue', queue)) FROM paused;
DROP TABLE paused;
";

const LOG_TABLES: &str = "
CREATE TABLE log (
    job BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    kept_bytes INTEGER NOT NULL,
    dropped_bytes INTEGER NOT NULL,
    UNIQUE (job, attempt)
);
";

/// Opens `jobs.db` for the writer, making its tables if it is new.
pub(super) fn open_jobs(path: &Path) -> anyhow::Result<Connection> {
    open(path, JOBS)
}

/// Opens `logs.db` for its writer, making its table if it is new.
pub(super) fn open_logs(path: &Path) -> anyhow::Result<Connection> {
    open(path, LOGS)
}

/// Opens the database at `path` for its writer, taking the `steps` that it has not had yet.
///
/// # Errors
/// If it cannot be written, or a newer version of Jobwright has.
pub(crate) fn open(path: &Path, steps: &[&str]) -> anyhow::Result<Connection> {
    let failed = || format!("cannot open the store {}", path.display());
    let connection = Connection::open(path).with_context(failed)?;
    prepare(&connection, steps).with_context(failed)?;
    Ok(connection)
}

fn prepare(connection: &Connection, steps: &[&str]) -> anyhow::Result<()> {
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
        // What a burst made of it goes again.
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;",
    )?;
    if !missing.is_empty() {
        let missing = missing.concat();
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {missing} PRAGMA user_version = {known}; COMMIT;"
        ))?;
    }
    Ok(())
}

/// Opens a database that its writer has made, for reading only.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000")?;
    Ok(connection)
}
