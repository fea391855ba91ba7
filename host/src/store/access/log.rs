//! The rows of the audit log.
//!
//! Invariants: an entry is changed at most once, to complete its details, and is removed
//! only when newer ones of its share need its space.

use jobwright_core::access::{AuditEntry, AuditShare};
use rusqlite::{Connection, Row, params};

use crate::sqlite::columns::{self, to_json};

/// The share that an entry counts against (an empty name for the operator), and the entry's number
/// in that share, from 1, so that the oldest entries are found without counting.
pub(super) const SHARES: &str = "
ALTER TABLE audit ADD COLUMN share TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
UPDATE audit SET place = id;
CREATE INDEX audit_by_share ON audit (share, place);
";

/// The maximum number of entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    operator: u64,
    tenant: u64,
}

impl Default for Bounds {
    /// Some hundred megabytes for administrators, which is years of work, and some ten for each
    /// tenant, whose client may be a script that repeats one action for ever.
    fn default() -> Self {
        Self { operator: 1_000_000, tenant: 100_000 }
    }
}

/// Adds an entry, which replaces the oldest one of its share if that is full. Returns its number.
pub(super) fn record(
    db: &Connection,
    entry: &AuditEntry,
    share: &AuditShare,
    bounds: Bounds,
) -> rusqlite::Result<u64> {
    let (name, most) = match share {
        AuditShare::Operator => ("", bounds.operator),
        AuditShare::Tenant(name) => (name.as_str(), bounds.tenant),
    };
    let last = "SELECT place FROM audit WHERE share = ?2 ORDER BY place DESC LIMIT 1";
    let sql = format!(
        "INSERT INTO audit (entry, share, place)
         VALUES (?1, ?2, 1 + coalesce(({last}), 0)) RETURNING id, place"
    );
    let row = params![to_json(entry)?, name];
    let numbers = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let (id, place) = db.prepare_cached(&sql)?.query_row(row, numbers)?;
    let sql = "DELETE FROM audit WHERE share = ?1 AND place <= ?2";
    let gone = place.saturating_sub_unsigned(most);
    db.prepare_cached(sql)?.execute(params![name, gone])?;
    Ok(id.unsigned_abs())
}

/// Replaces the details of an entry, if it was not removed.
pub(super) fn complete(db: &Connection, entry: &AuditEntry) -> rusqlite::Result<()> {
    let sql = "UPDATE audit SET entry = ?2 WHERE id = ?1";
    let row = params![entry.id.cast_signed(), to_json(&AuditEntry { id: 0, ..entry.clone() })?];
    db.prepare_cached(sql)?.execute(row).map(drop)
}

/// At most `most` entries of all shares, newest first, those before the entry `before`.
pub(super) fn read(
    db: &Connection,
    before: Option<u64>,
    most: usize,
) -> rusqlite::Result<Vec<AuditEntry>> {
    let before = i64::try_from(before.unwrap_or(u64::MAX)).unwrap_or(i64::MAX);
    let sql = "SELECT id, entry FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![before, i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(entries)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let id: i64 = row.get(0)?;
    let entry: AuditEntry = columns::json(row, 1)?;
    Ok(AuditEntry { id: id.unsigned_abs(), ..entry })
}

#[cfg(test)]
mod tests;
