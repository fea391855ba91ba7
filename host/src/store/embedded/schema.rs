//! The tables of `jobs.db` and `logs.db`, and how their writers open them.

use std::path::Path;

use anyhow::Context as _;
use rusqlite::Connection;

use crate::sqlite::open::{open, prepare};

/// The tables of `jobs.db`, in the steps in which they came to be: a database of version N has had the
/// first N of them, and one with a higher version was written by a newer Jobwright.
const JOBS: &[&str] = &[
    TABLES,
    REPORTS,
    TENANTS,
    SNOOZES,
    FAILED_OUTPUTS,
    HOLD_NOTES,
    LOSSES,
    HISTORY_SHARES,
    CLOCKS,
    POSITIONS,
    DEDUP,
    SHARED_SPECS,
    HOSTS,
    TIME_BOUNDS,
];

/// As [`JOBS`], for `logs.db`.
const LOGS: &[&str] = &[LOG_TABLES, LOG_TENANTS, LOG_OWNERS];

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

/// Progress and checkpoints of attempts.
const REPORTS: &str = "
ALTER TABLE job ADD COLUMN progress TEXT;
ALTER TABLE history ADD COLUMN progress TEXT;
CREATE TABLE checkpoint (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
";

/// The tenants of jobs, the limits of tenants, and holds as JSON, which include paused queues.
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

/// How often in sequence a job was snoozed, and since when.
const SNOOZES: &str = "
ALTER TABLE job ADD COLUMN snoozes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN snoozed_since INTEGER;
ALTER TABLE history ADD COLUMN snoozes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN snoozed_since INTEGER;
";

/// Which attempt left the output.
const FAILED_OUTPUTS: &str = "
ALTER TABLE job ADD COLUMN output_attempt INTEGER;
ALTER TABLE history ADD COLUMN output_attempt INTEGER;
";

/// The note of a hold, as JSON. Earlier holds have none.
const HOLD_NOTES: &str = "
ALTER TABLE hold ADD COLUMN note TEXT NOT NULL DEFAULT '{}';
";

/// Facts that decide whether a lost attempt counts: when the host was last alive, and how many
/// attempts it finished. They are unknown for hosts of earlier versions, whose lost attempts all
/// count.
const LOSSES: &str = "
CREATE TABLE host (alive_at INTEGER NOT NULL, finished INTEGER NOT NULL);
INSERT INTO host VALUES (0, 0);
ALTER TABLE job ADD COLUMN lost_after INTEGER;
ALTER TABLE history ADD COLUMN lost_after INTEGER;
";

/// The size of the history of each tenant, in bytes as `history::ROW_BYTES` explains.
const HISTORY_SHARES: &str = "
CREATE TABLE history_share (tenant TEXT PRIMARY KEY, bytes INTEGER NOT NULL);
INSERT INTO history_share
    SELECT tenant, sum(payload_bytes + coalesce(output_bytes, 0) + 1024) FROM history GROUP BY tenant;
";

/// How far the wall clock was ahead of the clock of the host that used the store last, in microseconds,
/// and of which of them `scheduled_at` is a time. Of a host of an earlier version both are taken to have
/// said the same.
const CLOCKS: &str = "
ALTER TABLE host ADD COLUMN ahead INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN on_wall INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN on_wall INTEGER NOT NULL DEFAULT 0;
";

/// Positions of changes, by which finalized jobs are kept; small payloads and outputs in the rows of their
/// jobs; and indexes that cost nothing where all jobs are the default tenant's and complete. A finalized job
/// of an earlier version has the number of its row as its position.
const POSITIONS: &str = "
ALTER TABLE job ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN payload_type TEXT;
ALTER TABLE job ADD COLUMN payload BLOB;
ALTER TABLE job ADD COLUMN output BLOB;
ALTER TABLE history RENAME COLUMN seq TO position;
ALTER TABLE history ADD COLUMN seq INTEGER;
ALTER TABLE history ADD COLUMN payload_type TEXT;
ALTER TABLE history ADD COLUMN payload BLOB;
ALTER TABLE history ADD COLUMN output BLOB;
DROP INDEX history_by_end;
DROP INDEX history_by_tenant;
CREATE INDEX history_by_tenant ON history (tenant, id) WHERE tenant <> 'default';
CREATE INDEX history_discarded ON history (position) WHERE state = 3;
ALTER TABLE host ADD COLUMN last_row INTEGER NOT NULL DEFAULT 0;
ALTER TABLE host ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
ALTER TABLE host ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
UPDATE host SET last_row = max(
    coalesce((SELECT max(seq) FROM job), 0), coalesce((SELECT max(position) FROM history), 0));
";

/// Keys by their scope (the numbers of `rows::scope`), each with its job as it was accepted.
/// Earlier versions stored the response instead, which has the same facts.
const DEDUP: &str = "
CREATE TABLE dedup (
    tenant TEXT NOT NULL,
    scope INTEGER NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    until INTEGER NOT NULL,
    job BLOB NOT NULL,
    spec TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL,
    on_wall INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (tenant, scope, key)
);
CREATE INDEX dedup_by_end ON dedup (until);
WITH earlier AS (
    SELECT key, fingerprint, job, expires_at, length(answer) AS bytes,
           CAST(answer AS TEXT) AS answer,
           CAST(answer AS TEXT) ->> '$.plugin' AS plugin,
           CAST(answer AS TEXT) ->> '$.created_at' AS created,
           CAST(answer AS TEXT) ->> '$.scheduled_at' AS scheduled,
           CASE instr(key, char(31)) WHEN 0 THEN 'default'
                ELSE substr(key, 1, instr(key, char(31)) - 1) END AS tenant
    FROM idempotency WHERE json_valid(CAST(answer AS TEXT))
)
INSERT INTO dedup
SELECT tenant, 0, substr(key, instr(key, char(31)) + 1), fingerprint, expires_at, job,
       json_patch('{}', json_object(
           'tenant', nullif(tenant, 'default'),
           'plugin', substr(plugin, 1, instr(plugin, '@') - 1),
           'version', substr(plugin, instr(plugin, '@') + 1),
           'digest', answer -> '$.digest',
           'queue', answer -> '$.queue',
           'priority', answer -> '$.priority',
           'max_attempts', answer -> '$.max_attempts',
           'limits', answer -> '$.limits',
           'entrypoint', answer -> '$.entrypoint',
           'args', answer -> '$.args',
           'env', answer -> '$.env',
           'tags', answer -> '$.tags',
           'deterministic', answer -> '$.deterministic',
           'inject_env', answer -> '$.inject_env',
           'exit_codes', answer -> '$.exit_codes')),
       1000000 * strftime('%s', substr(created, 1, 19))
           + substr(replace(substr(created, 21), 'Z', '') || '000000', 1, 6),
       1000000 * strftime('%s', substr(scheduled, 1, 19))
           + substr(replace(substr(scheduled, 21), 'Z', '') || '000000', 1, 6),
       0, bytes + 200 + length(CAST(key AS BLOB))
FROM earlier WHERE created IS NOT NULL AND scheduled IS NOT NULL;
DROP TABLE idempotency;
";

/// Specifications that jobs share. The column `spec` has the number of one, or JSON.
const SHARED_SPECS: &str = "
CREATE TABLE shared_spec (number INTEGER PRIMARY KEY, json TEXT NOT NULL);
";

/// The hosts that hold leases: a running job has the number of its host. They have rows in the table of what
/// is known of the store, which has number 0, as the same commits write both: so they write one page. Of what
/// an earlier version left running the host is not known; zeros stand for its id.
const HOSTS: &str = "
ALTER TABLE host ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE host ADD COLUMN id BLOB;
ALTER TABLE job ADD COLUMN held_by INTEGER;
ALTER TABLE history ADD COLUMN held_by INTEGER;
INSERT INTO host (number, id, alive_at, finished) SELECT 1, zeroblob(16), alive_at, finished FROM host;
UPDATE job SET held_by = 1 WHERE state = 1;
";

/// Until when a job must start and end, and an index of all jobs that are kept as long as discarded ones.
const TIME_BOUNDS: &str = "
ALTER TABLE job ADD COLUMN start_by INTEGER;
ALTER TABLE job ADD COLUMN end_by INTEGER;
ALTER TABLE history ADD COLUMN start_by INTEGER;
ALTER TABLE history ADD COLUMN end_by INTEGER;
DROP INDEX history_discarded;
CREATE INDEX history_failed ON history (position) WHERE state IN (3, 5);
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

/// The tenant of a log, so that the oldest logs of one tenant can be found.
const LOG_TENANTS: &str = "
ALTER TABLE log ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
CREATE INDEX log_by_tenant ON log (tenant);
";

/// Sets the tenants of the logs that existed before [`LOG_TENANTS`], by their jobs.
const LOG_OWNERS: &str = "
UPDATE log SET tenant = coalesce(
    (SELECT tenant FROM jobs.job WHERE id = log.job),
    (SELECT tenant FROM jobs.history WHERE id = log.job),
    tenant);
";

/// Opens `jobs.db` for the writer, making its tables if it is new.
pub(super) fn open_jobs(path: &Path) -> anyhow::Result<Connection> {
    open(path, JOBS)
}

/// Opens `logs.db` for its writer, making its table if it is new. `jobs.db` is at `jobs`, and was opened
/// before.
pub(super) fn open_logs(path: &Path, jobs: &Path) -> anyhow::Result<Connection> {
    let failed = || format!("cannot open the store {}", path.display());
    let connection = Connection::open(path).with_context(failed)?;
    let beside = jobs.to_string_lossy();
    connection.execute("ATTACH ?1 AS jobs", [&beside]).with_context(failed)?;
    prepare(&connection, LOGS).with_context(failed)?;
    connection.execute_batch("DETACH jobs").with_context(failed)?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
