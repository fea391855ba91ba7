//! The logs of attempts: a database and a writer of their own, so that a chatty guest never shares
//! a commit with the queue. Its commits are not synced each by itself: a power loss may cost the
//! latest part of a log, never a state.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use jobwright_core::capacity::{HeldBytes, KeptLimits};
use jobwright_core::job::{JobId, MAX_RECORDS};
use jobwright_core::limits::show_bytes;
use jobwright_core::log::LogSnapshot;
use jobwright_core::store::{AttemptLog, StoreError};
use jobwright_core::tenant::TenantName;
use rusqlite::{Connection, params};

use super::schema;
use crate::disk::Floor;
use crate::sqlite::readers::{LOOKUPS, Readers, store_error};
use crate::sqlite::writer::{Effect, State, Writer};
use crate::sqlite::{columns, pages};

/// See the documentation of the module.
#[derive(Debug)]
pub(super) struct Logs {
    writer: Writer<Database>,
    readers: Arc<Readers>,
}

#[derive(Debug)]
struct Database {
    db: Connection,
    most_bytes: u64,
    floor: Floor,
    /// Whether the disk was below the floor when it was last looked at.
    is_low: bool,
    /// The size of the logs by tenant.
    held: HeldBytes,
    /// The number of bytes that were written since the last measurement.
    grown_bytes: u64,
    /// The number of logs that were not stored since the disk became short of space.
    dropped: u64,
}

/// The number of bytes that are written between two measurements.
const MEASURE_BYTES: u64 = 1 << 20;

/// The number of logs that are removed at a time: few, because they can be large.
const TRIM: u32 = 4;

/// The part of the floor that must be free in addition before the file grows: more than the
/// write-ahead logs grow meanwhile.
const ABOVE_FLOOR: u64 = 4;

/// The space of a row in addition to the log: pages of the table and its index that are not full.
const ROW_BYTES: u64 = 64 << 10;

impl Database {
    /// Counts written bytes; at intervals it removes the oldest logs if they exceed the limit.
    fn grow(&mut self, bytes: u64) -> rusqlite::Result<()> {
        self.grown_bytes += bytes + COUNTED_BYTES;
        if self.grown_bytes < MEASURE_BYTES {
            return Ok(());
        }
        self.grown_bytes = 0;
        while pages::used_bytes(&self.db)? > self.most_bytes && self.remove_oldest()? > 0 {}
        Ok(())
    }

    /// Whether a log of `bytes` can be stored. If the disk is short of space, older logs are
    /// removed for it, so that the file does not grow.
    fn has_room(&mut self, bytes: u64) -> rusqlite::Result<bool> {
        self.is_low = self.floor.is_reached();
        if !self.is_low {
            if self.dropped > 0 {
                tracing::info!(dropped = self.dropped, "logs of attempts are stored again");
                self.dropped = 0;
            }
            return Ok(true);
        }
        let needed = bytes + ROW_BYTES;
        let mut fits = pages::file_bytes(&self.db)? >= needed;
        while fits && pages::free_bytes(&self.db)? < needed {
            fits = self.remove_oldest()? > 0;
        }
        if !fits {
            if self.dropped == 0 {
                let least = show_bytes(self.floor.least_bytes());
                tracing::warn!(
                    "logs of attempts are not stored: less than {least} of disk space is free"
                );
            }
            self.dropped += 1;
        }
        Ok(fits)
    }

    /// Removes some of the oldest logs of the tenant with the most bytes. Returns their number.
    fn remove_oldest(&mut self) -> rusqlite::Result<usize> {
        while let Some(largest) = self.held.largest().cloned() {
            let sql = "DELETE FROM log WHERE rowid IN
                         (SELECT rowid FROM log WHERE tenant = ?1 ORDER BY rowid LIMIT ?2)
                       RETURNING length(bytes)";
            let mut delete = self.db.prepare_cached(sql)?;
            let length = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            let gone = delete.query_map(params![largest.as_str(), TRIM], length)?;
            let gone = gone.collect::<rusqlite::Result<Vec<_>>>()?;
            if gone.is_empty() {
                // The tenant has fewer bytes than were counted.
                self.held.remove(&largest, u64::MAX);
                continue;
            }
            for length in &gone {
                self.held.remove(&largest, length.unsigned_abs() + COUNTED_BYTES);
            }
            return Ok(gone.len());
        }
        Ok(0)
    }

    /// Subtracts the log of an attempt, or of all attempts at a job.
    fn forget(&mut self, id: JobId, attempt: Option<u32>) -> rusqlite::Result<()> {
        let sql = "SELECT tenant, length(bytes) FROM log
                   WHERE job = ?1 AND (?2 IS NULL OR attempt = ?2)";
        let mut query = self.db.prepare_cached(sql)?;
        let mut rows = query.query(params![id.as_bytes(), attempt])?;
        while let Some(row) = rows.next()? {
            let length = row.get::<_, i64>(1)?.unsigned_abs();
            self.held.remove(&columns::tenant(row, 0)?, length + COUNTED_BYTES);
        }
        Ok(())
    }
}

/// The bytes that a log counts in addition to its own: the minimum of a row.
const COUNTED_BYTES: u64 = 64;

/// The counted size of the logs by tenant.
fn held(db: &Connection) -> rusqlite::Result<HeldBytes> {
    let sql = "SELECT tenant, sum(length(bytes) + ?1) FROM log GROUP BY tenant";
    let share = |row: &rusqlite::Row<'_>| {
        Ok((columns::tenant(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()))
    };
    db.prepare(sql)?.query_map([COUNTED_BYTES.cast_signed()], share)?.collect()
}

impl State for Database {
    fn connection(&self) -> &Connection {
        &self.db
    }

    fn reload(&mut self) -> rusqlite::Result<()> {
        self.held = held(&self.db)?;
        Ok(())
    }

    fn is_disk_low(&mut self) -> bool {
        std::mem::take(&mut self.is_low)
    }
}

fn is_damaged(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<rusqlite::Error>();
    cause.is_some_and(|cause| matches!(store_error(cause), StoreError::Corrupt { .. }))
}

/// Removes the files of the database.
pub(super) fn remove(path: &Path) {
    for suffix in ["-wal", "-shm", ""] {
        // If nothing can be removed, the next write fails at once.
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

/// Renames the files of the database; an earlier renamed one is replaced.
fn set_aside(path: &Path) -> anyhow::Result<PathBuf> {
    let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (with(suffix), with(&format!(".damaged{suffix}")));
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot rename {}", from.display()));
            }
            _ => {}
        }
    }
    Ok(with(".damaged"))
}

impl Logs {
    /// Opens or creates the database at `path`, which is bounded by `limits`. A damaged one is
    /// renamed: no job needs it. The store of jobs at `jobs` has the tenants of logs of an earlier
    /// version.
    pub(super) fn open(path: &Path, jobs: &Path, limits: KeptLimits) -> anyhow::Result<Self> {
        let opened = schema::open_logs(path, jobs).or_else(|error| {
            if !is_damaged(&error) {
                return Err(error);
            }
            let aside = set_aside(path)?;
            tracing::error!(
                error = format!("{error:#}"),
                aside = %aside.display(),
                "the file of logs of attempts is damaged: it was renamed, and a new one is used"
            );
            schema::open_logs(path, jobs)
        });
        // Above the floor of jobs, so that logs do not use the space of jobs.
        let least_bytes = limits.free_bytes.saturating_add(limits.free_bytes / ABOVE_FLOOR);
        let (most_bytes, floor) = (limits.log_bytes, Floor::new(path, least_bytes));
        let db = opened?;
        let held = held(&db)?;
        let database =
            Database { db, most_bytes, floor, is_low: false, held, grown_bytes: 0, dropped: 0 };
        let writer = Writer::start("logs", path, database)?;
        let readers = writer.readers(LOOKUPS);
        Ok(Self { writer, readers })
    }

    /// Stores the log of an attempt at a job of `tenant`, in place of an earlier log of this attempt.
    pub(super) async fn save(
        &self,
        tenant: TenantName,
        id: JobId,
        log: AttemptLog,
    ) -> Result<(), StoreError> {
        let AttemptLog { attempt, log } = log;
        let length = log.bytes.len();
        let step = move |database: &mut Database| {
            if !database.has_room(log.bytes.len() as u64)? {
                return Ok(());
            }
            database.forget(id, Some(attempt))?;
            let sql = "INSERT OR REPLACE INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let counts = (log.kept_bytes.cast_signed(), log.dropped_bytes.cast_signed());
            let row = params![
                id.as_bytes(),
                attempt,
                &log.bytes[..],
                counts.0,
                counts.1,
                tenant.as_str()
            ];
            database.db.prepare_cached(sql)?.execute(row)?;
            database.held.add(&tenant, log.bytes.len() as u64 + COUNTED_BYTES);
            database.grow(log.bytes.len() as u64)
        };
        self.writer.submit(Effect::Unsynced, length, step).await
    }

    /// The logs of a job's latest attempts, oldest first.
    pub(super) async fn read(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError> {
        let query = move |db: &Connection| {
            let sql = "SELECT attempt, bytes, kept_bytes, dropped_bytes FROM log WHERE job = ?1
                       ORDER BY attempt DESC LIMIT ?2";
            let log = |row: &rusqlite::Row<'_>| {
                let (kept, dropped): (i64, i64) = (row.get(2)?, row.get(3)?);
                let log = LogSnapshot {
                    bytes: row.get(1)?,
                    kept_bytes: kept.cast_unsigned(),
                    dropped_bytes: dropped.cast_unsigned(),
                };
                Ok(AttemptLog { attempt: row.get(0)?, log })
            };
            let mut latest = db.prepare_cached(sql)?;
            let found = latest.query_map(params![id.as_bytes(), MAX_RECORDS as i64], log)?;
            let mut logs = found.collect::<rusqlite::Result<Vec<_>>>()?;
            logs.reverse();
            Ok(logs)
        };
        self.readers.read(query).await
    }

    /// Removes the logs of these jobs.
    pub(super) async fn remove(&self, ids: Vec<JobId>) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let step = move |database: &mut Database| {
            for id in ids {
                database.forget(id, None)?;
                let sql = "DELETE FROM log WHERE job = ?1";
                database.db.prepare_cached(sql)?.execute([id.as_bytes()])?;
            }
            Ok(())
        };
        self.writer.submit(Effect::Unsynced, 0, step).await
    }
}
