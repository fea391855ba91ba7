//! The table `dedup`: keys in use, each with its job as it stood when it was accepted.

use jobwright_core::capacity::HeldKeys;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::UsedKey;
use rusqlite::{Connection, Result, Row, params};

use crate::sqlite::columns::{self, micros, to_json};
use crate::store::embedded::rows;

/// Stores a key, which replaces an equal one that has expired.
pub(super) fn insert(db: &Connection, used: &UsedKey) -> Result<()> {
    let UsedKey { dedup, first } = used;
    let sql = "INSERT OR REPLACE INTO dedup (tenant, scope, key, fingerprint, until, job, spec,
                 created_at, scheduled_at, on_wall, bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let row = params![
        first.spec.tenant.as_str(),
        rows::scope(dedup.scope),
        dedup.key,
        dedup.fingerprint.to_string(),
        micros(dedup.until),
        first.id.as_bytes(),
        to_json(&first.spec)?,
        micros(first.created_at),
        micros(first.lifecycle.scheduled_at),
        first.lifecycle.on_wall,
        dedup.bytes(&first.spec).cast_signed(),
    ];
    db.prepare_cached(sql)?.execute(row).map(drop)
}

/// Removes at most `most` keys that have ended.
pub(super) fn remove(db: &Connection, now: Timestamp, most: usize) -> Result<()> {
    let sql = "DELETE FROM dedup WHERE rowid IN
                 (SELECT rowid FROM dedup WHERE until <= ?1 LIMIT ?2)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    db.prepare_cached(sql)?.execute(params![micros(now), most]).map(drop)
}

/// The size of the keys.
pub(super) fn held(db: &Connection) -> Result<HeldKeys> {
    let share =
        |row: &Row<'_>| Ok((columns::tenant(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    let mut statement =
        db.prepare_cached("SELECT tenant, sum(bytes) FROM dedup GROUP BY tenant")?;
    statement.query_map([], share)?.collect()
}
