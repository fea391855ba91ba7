//! The statements that remove what is over: past its retention, or to make room. What makes room is
//! taken from the tenant that holds most of the history.

use std::collections::BTreeSet;

use jobwright_core::capacity::HeldBytes;
use jobwright_core::job::JobId;
use jobwright_core::lifecycle::JobState;
use jobwright_core::store::Retention;
use jobwright_core::tenant::TenantName;
use rusqlite::{Connection, Row, params};

use super::rows::{self, micros, state};

/// What a job counts in the history beside its payload and output, in bytes: about its rows and their
/// entries in indexes.
const ROW_BYTES: u64 = 1024;

/// How many of a tenant's oldest jobs are looked at for each that goes, as an index has them: a job that
/// is old and has ended just now is then not the first to go.
const LOOKED_FOR_EACH: usize = 8;

/// The states of jobs that are over.
const OVER: [JobState; 3] = [JobState::Completed, JobState::Cancelled, JobState::Discarded];

/// What a job takes of the history, and whose it is.
pub(super) type HeldRow = (TenantName, u64);

/// It, in the columns `tenant, payload_bytes, output_bytes` from `first` on.
pub(super) fn held(row: &Row<'_>, first: usize) -> rusqlite::Result<HeldRow> {
    let payload: i64 = row.get(first + 1)?;
    let output: Option<i64> = row.get(first + 2)?;
    let bytes = payload.unsigned_abs() + output.unwrap_or(0).unsigned_abs() + ROW_BYTES;
    Ok((rows::tenant(row, first)?, bytes))
}

/// A row that goes.
struct Gone {
    seq: i64,
    id: JobId,
    ended: i64,
    held: HeldRow,
}

/// Those columns of a row that [`gone`] reads.
const COLUMNS: &str = "seq, id, finalized_at, tenant, payload_bytes, output_bytes";

fn gone(row: &Row<'_>) -> rusqlite::Result<Gone> {
    Ok(Gone { seq: row.get(0)?, id: rows::id(row, 1)?, ended: row.get(2)?, held: held(row, 3)? })
}

/// What tenants hold of the history, with the table that keeps it.
#[derive(Debug, Default)]
pub(super) struct History {
    held: HeldBytes,
    /// Of whom that has changed since it was written down.
    changed: BTreeSet<TenantName>,
}

impl History {
    /// As it was written down last.
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let share =
            |row: &Row<'_>| Ok((rows::tenant(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()));
        let mut query = db.prepare("SELECT tenant, bytes FROM history_share")?;
        let held = query.query_map([], share)?.collect::<rusqlite::Result<_>>()?;
        Ok(Self { held, changed: BTreeSet::new() })
    }

    /// Writes down what has changed.
    pub(super) fn save(&mut self, db: &Connection) -> rusqlite::Result<()> {
        for tenant in std::mem::take(&mut self.changed) {
            let bytes = self.held.of(&tenant).cast_signed();
            let sql = "INSERT OR REPLACE INTO history_share VALUES (?1, ?2)";
            db.prepare_cached(sql)?.execute(params![tenant.as_str(), bytes])?;
            if bytes == 0 {
                let sql = "DELETE FROM history_share WHERE tenant = ?1";
                db.prepare_cached(sql)?.execute([tenant.as_str()])?;
            }
        }
        Ok(())
    }

    /// What all hold.
    pub(super) fn bytes(&self) -> u64 {
        self.held.bytes()
    }

    /// A job has come.
    pub(super) fn add(&mut self, (tenant, bytes): HeldRow) {
        self.held.add(&tenant, bytes);
        self.changed.insert(tenant);
    }

    /// A job has gone.
    pub(super) fn remove(&mut self, (tenant, bytes): HeldRow) {
        self.held.remove(&tenant, bytes);
        self.changed.insert(tenant);
    }

    /// Removes what is past its retention, as [`prune`]; answers which jobs went.
    pub(super) fn prune(
        &mut self,
        db: &Connection,
        retention: Retention,
        most: usize,
    ) -> rusqlite::Result<Vec<JobId>> {
        let gone = prune(db, retention, most)?;
        Ok(gone.into_iter().map(|gone| self.forget(gone)).collect())
    }

    /// Removes `most` of the jobs of the tenant that holds most; answers which, and nothing if there are
    /// none at all.
    pub(super) fn make_room(
        &mut self,
        db: &Connection,
        most: usize,
    ) -> rusqlite::Result<Vec<JobId>> {
        while let Some(largest) = self.held.largest().cloned() {
            let gone = prune_oldest(db, &largest, most)?;
            if !gone.is_empty() {
                return Ok(gone.into_iter().map(|gone| self.forget(gone)).collect());
            }
            // It holds less than was counted.
            self.remove((largest, u64::MAX));
        }
        Ok(vec![])
    }

    fn forget(&mut self, gone: Gone) -> JobId {
        self.remove(gone.held);
        gone.id
    }
}

/// Removes at most `most` finalized jobs that are past their retention, with what belongs to them,
/// and as many expired keys; answers which jobs went.
fn prune(db: &Connection, retention: Retention, most: usize) -> rusqlite::Result<Vec<Gone>> {
    let sql = "DELETE FROM idempotency WHERE key IN
                 (SELECT key FROM idempotency WHERE expires_at <= ?1 LIMIT ?2)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    db.prepare_cached(sql)?.execute(params![micros(retention.now), most])?;
    let sql = format!(
        "SELECT {COLUMNS} FROM history WHERE state = ?1 AND finalized_at < ?2
         ORDER BY finalized_at LIMIT ?3"
    );
    let mut query = db.prepare_cached(&sql)?;
    let mut pruned: Vec<Gone> = Vec::new();
    for over in OVER {
        let before = match over {
            JobState::Discarded => retention.discarded_before,
            _ => retention.completed_before,
        };
        let room = most - pruned.len() as i64;
        let found = query.query_map(params![state(over), micros(before), room], gone)?;
        pruned.extend(found.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    remove(db, pruned)
}

/// Removes `most` finalized jobs of `tenant` with what belongs to them, of its oldest those that ended
/// first; answers which.
fn prune_oldest(db: &Connection, tenant: &TenantName, most: usize) -> rusqlite::Result<Vec<Gone>> {
    let by_id = format!("SELECT {COLUMNS} FROM history WHERE tenant = ?1 ORDER BY id LIMIT ?2");
    let mut query = db.prepare_cached(&by_id)?;
    let looked = (most * LOOKED_FOR_EACH) as i64;
    let found = query.query_map(params![tenant.as_str(), looked], gone)?;
    let mut oldest = found.collect::<rusqlite::Result<Vec<_>>>()?;
    oldest.sort_unstable_by_key(|gone| (gone.ended, gone.seq));
    oldest.truncate(most);
    remove(db, oldest)
}

fn remove(db: &Connection, jobs: Vec<Gone>) -> rusqlite::Result<Vec<Gone>> {
    for table in ["history", "payload", "output"] {
        let mut delete = db.prepare_cached(&format!("DELETE FROM {table} WHERE seq = ?1"))?;
        jobs.iter().try_for_each(|job| delete.execute([job.seq]).map(drop))?;
    }
    Ok(jobs)
}
