//! The rows of the audit log.
//!
//! Invariants: an entry is never changed, and goes only when newer ones of its share need its place.

use jobwright_core::access::{AuditEntry, AuditShare};
use rusqlite::{Connection, Row, params};

/// Whose share an entry takes (the operator's has no name, which no tenant is called), and which it is
/// of that share, counted from 1: the oldest are found without counting the rest.
pub(super) const SHARES: &str = "
ALTER TABLE audit ADD COLUMN share TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
UPDATE audit SET place = id;
CREATE INDEX audit_by_share ON audit (share, place);
";

/// How many entries are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    operator: u64,
    tenant: u64,
}

impl Default for Bounds {
    /// Of operators some hundred megabytes, years of their work; of each tenant, who may be a script
    /// that does one thing for ever, some ten.
    fn default() -> Self {
        Self { operator: 1_000_000, tenant: 100_000 }
    }
}

/// Adds an entry, in the place of the oldest one of its share if that is full.
pub(super) fn record(
    db: &mut Connection,
    entry: &AuditEntry,
    share: &AuditShare,
    bounds: Bounds,
) -> anyhow::Result<()> {
    let (name, most) = match share {
        AuditShare::Operator => ("", bounds.operator),
        AuditShare::Tenant(name) => (name.as_str(), bounds.tenant),
    };
    let change = db.transaction()?;
    let last = "SELECT place FROM audit WHERE share = ?2 ORDER BY place DESC LIMIT 1";
    let sql = format!(
        "INSERT INTO audit (entry, share, place)
         VALUES (?1, ?2, 1 + coalesce(({last}), 0)) RETURNING place"
    );
    let row = params![serde_json::to_string(entry)?, name];
    let place: i64 = change.prepare_cached(&sql)?.query_row(row, |row| row.get(0))?;
    let sql = "DELETE FROM audit WHERE share = ?1 AND place <= ?2";
    let gone = place.saturating_sub_unsigned(most);
    change.prepare_cached(sql)?.execute(params![name, gone])?;
    Ok(change.commit()?)
}

/// At most `most` entries of all shares, newest first, those before the entry `before`.
pub(super) fn read(
    db: &Connection,
    before: Option<u64>,
    most: usize,
) -> anyhow::Result<Vec<AuditEntry>> {
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

fn entry(row: &Row<'_>) -> anyhow::Result<AuditEntry> {
    let (id, text): (i64, String) = (row.get(0)?, row.get(1)?);
    let entry: AuditEntry = serde_json::from_str(&text)?;
    Ok(AuditEntry { id: id.unsigned_abs(), ..entry })
}

#[cfg(test)]
mod tests {
    use jobwright_core::access::AccessStore as _;
    use jobwright_core::clock::Timestamp;
    use serde_json::json;

    use super::super::{SqliteAccess, TABLES};
    use super::*;

    fn entry(target: &str) -> AuditEntry {
        AuditEntry {
            id: 0,
            at: Timestamp::UNIX_EPOCH,
            actor: "key".to_owned(),
            tenant: Default::default(),
            action: "queue.pause".to_owned(),
            target: target.to_owned(),
            detail: json!({}),
        }
    }

    async fn targets(access: &SqliteAccess) -> Vec<(u64, String)> {
        let entries = access.audit(None, 100).await.unwrap();
        entries.into_iter().rev().map(|entry| (entry.id, entry.target)).collect()
    }

    #[tokio::test]
    async fn each_share_is_bounded_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { operator: 3, tenant: 2 };
        let access = SqliteAccess::bounded(folder.path(), bounds).unwrap();
        let share = |name: &str| match name {
            "operator" => AuditShare::Operator,
            name => AuditShare::Tenant(name.parse().expect("a name")),
        };
        for name in ["operator", "a", "b", "a", "a", "operator", "a"] {
            access.record(entry(name), share(name)).await.unwrap();
        }
        let kept = |left: &[(u64, &str)]| -> Vec<(u64, String)> {
            left.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
        };
        let left = [(1, "operator"), (3, "b"), (5, "a"), (6, "operator"), (7, "a")];
        assert_eq!(targets(&access).await, kept(&left));
        drop(access);
        // It goes on so when it is opened again.
        let access = SqliteAccess::bounded(folder.path(), bounds).unwrap();
        for name in ["operator", "operator", "b"] {
            access.record(entry(name), share(name)).await.unwrap();
        }
        let left = [
            (3, "b"),
            (5, "a"),
            (6, "operator"),
            (7, "a"),
            (8, "operator"),
            (9, "operator"),
            (10, "b"),
        ];
        assert_eq!(targets(&access).await, kept(&left));
    }

    #[tokio::test]
    async fn a_log_from_before_there_were_shares_is_the_operators() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder.path().join("access.db")).unwrap();
        old.execute_batch(TABLES).unwrap();
        for target in ["x", "y"] {
            let text = serde_json::to_string(&entry(target)).unwrap();
            old.execute("INSERT INTO audit (entry) VALUES (?1)", [text]).unwrap();
        }
        drop(old);
        let bounds = Bounds { operator: 2, tenant: 1 };
        let access = SqliteAccess::bounded(folder.path(), bounds).unwrap();
        access.record(entry("z"), AuditShare::Operator).await.unwrap();
        assert_eq!(targets(&access).await, [(2, "y".to_owned()), (3, "z".to_owned())]);
    }
}
