//! The statements that read `jobs.db`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::SignedDuration;
use jobwright_core::change::Position;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Dedup, Job, JobId, JobSpec, Lifecycle, Payload, UsedKey};
use jobwright_core::ledger::HostRow;
use jobwright_core::outcome::Output;
use jobwright_core::store::{ChangedSince, JobFilter, JobPage, Page};
use jobwright_core::tenant::TenantName;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::rows;
use crate::sqlite::columns;
use crate::store::view::View;

/// Listings at one time. Each reads many rows, so they have readers of their own: a request for one job does
/// not wait for them, and they leave a processor to others.
pub(super) const LISTINGS: usize = 2;

/// The number of rows of a table that one page reads, which takes some tens of milliseconds. A
/// listing whose filter matches little returns a short page and continues from there, instead of
/// reading a long history at once.
const SCANNED_ROWS: usize = 2_000;

impl View for Connection {
    type Error = rusqlite::Error;

    fn get(&self, id: JobId) -> rusqlite::Result<Option<Job>> {
        Ok(job_and_payload_bytes(self, id)?.map(|(job, _)| job))
    }

    fn payload(&self, id: JobId) -> rusqlite::Result<Option<Payload>> {
        payload(self, id)
    }

    fn output(&self, id: JobId) -> rusqlite::Result<Option<Output>> {
        output(self, id)
    }

    fn key(&self, tenant: &TenantName, dedup: &Dedup) -> rusqlite::Result<Option<UsedKey>> {
        key(self, tenant, dedup)
    }

    fn list(&self, filter: &JobFilter, page: Page, now: Timestamp) -> rusqlite::Result<JobPage> {
        list(self, filter, page, now)
    }

    fn changed_since(&self, position: Position, most: usize) -> rusqlite::Result<ChangedSince> {
        changed_since(self, position, most)
    }
}

/// The host that used the store last.
pub(super) fn host(db: &Connection) -> rusqlite::Result<HostRow> {
    let number = |row: &Row<'_>, column: usize| -> rusqlite::Result<u64> {
        Ok(row.get::<_, i64>(column)?.unsigned_abs())
    };
    let row = |row: &Row<'_>| {
        Ok(HostRow {
            alive_at: columns::time(row, 0)?,
            finished: number(row, 1)?,
            ahead: SignedDuration::from_micros(row.get(2)?),
            last_row: number(row, 3)?,
            position: Position::from_number(number(row, 4)?),
            pruned: Position::from_number(number(row, 5)?),
        })
    };
    let sql = "SELECT alive_at, finished, ahead, last_row, position, pruned FROM host
               WHERE number = 0";
    db.query_row(sql, [], row)
}

/// One job, finished or not, and the length of its payload.
pub(super) fn job_and_payload_bytes(
    db: &Connection,
    id: JobId,
) -> rusqlite::Result<Option<(Job, u64)>> {
    // One statement, so that a job that moves between tables meanwhile is found in exactly one of them.
    let columns = rows::COLUMNS;
    let sql = format!(
        "SELECT {columns} FROM job WHERE id = ?1 UNION ALL SELECT {columns} FROM history WHERE id = ?1"
    );
    let read =
        |row: &Row<'_>| Ok((rows::job(row)?, row.get::<_, i64>(rows::WIDTH - 1)?.unsigned_abs()));
    db.prepare_cached(&sql)?.query_row([id.as_bytes()], read).optional()
}

/// The tenant of a job.
pub(super) fn tenant(db: &Connection, id: JobId) -> rusqlite::Result<Option<TenantName>> {
    let sql = "SELECT tenant FROM job WHERE id = ?1
               UNION ALL SELECT tenant FROM history WHERE id = ?1";
    let tenant = |row: &Row<'_>| columns::tenant(row, 0);
    db.prepare_cached(sql)?.query_row([id.as_bytes()], tenant).optional()
}

/// The payload of a job.
fn payload(db: &Connection, id: JobId) -> rusqlite::Result<Option<Payload>> {
    let found = apart_or_inline(db, "payload", id)?;
    Ok(found.map(|(content_type, bytes)| Payload { content_type, bytes: bytes.into() }))
}

/// The output of a job.
pub(super) fn output(db: &Connection, id: JobId) -> rusqlite::Result<Option<Output>> {
    let found = apart_or_inline(db, "output", id)?;
    let output = |(content_type, bytes): (Option<String>, Vec<u8>)| {
        Some(Output { content_type: content_type?, bytes: bytes.into() })
    };
    Ok(found.and_then(output))
}

/// The type and the bytes of a job's payload or output (`what`), which are in its row if they are few.
fn apart_or_inline(
    db: &Connection,
    what: &str,
    id: JobId,
) -> rusqlite::Result<Option<(Option<String>, Vec<u8>)>> {
    // One transaction: between two statements the job could move from one table to the other.
    let view = db.unchecked_transaction()?;
    let sql = format!(
        "SELECT {what}_type, {what}, seq FROM job WHERE id = ?1
         UNION ALL SELECT {what}_type, {what}, coalesce(seq, position) FROM history WHERE id = ?1"
    );
    let row = |row: &Row<'_>| {
        Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?, row.get(2)?))
    };
    let mut statement = view.prepare_cached(&sql)?;
    let found: Option<(_, _, i64)> = statement.query_row([id.as_bytes()], row).optional()?;
    let Some((kind, inline, seq)) = found else { return Ok(None) };
    if let Some(bytes) = inline {
        return Ok(Some((kind, bytes)));
    }
    let sql = format!("SELECT content_type, bytes FROM {what} WHERE seq = ?1");
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    view.prepare_cached(&sql)?.query_row([seq], row).optional()
}

/// The latest state of jobs that changed after `position`, at most `most`, in the order of their changes.
fn changed_since(
    db: &Connection,
    position: Position,
    most: usize,
) -> rusqlite::Result<ChangedSince> {
    // One transaction: between two statements a job could move from one table to the other.
    let view = db.unchecked_transaction()?;
    let host = host(&view)?;
    if position < host.pruned {
        return Ok(ChangedSince::Reset(host.position.into()));
    }
    let columns = rows::COLUMNS;
    let sql = format!(
        "SELECT * FROM (SELECT {columns}, position FROM job WHERE position > ?1
                        ORDER BY position LIMIT ?2)
         UNION ALL
         SELECT * FROM (SELECT {columns}, position FROM history WHERE position > ?1
                        ORDER BY position LIMIT ?2)
         ORDER BY position LIMIT ?2"
    );
    let row = |row: &Row<'_>| {
        let position = row.get::<_, i64>(rows::WIDTH)?.unsigned_abs();
        Ok((Position::from_number(position), rows::job(row)?))
    };
    let parameters =
        params![position.number().cast_signed(), i64::try_from(most).unwrap_or(i64::MAX)];
    let mut statement = view.prepare_cached(&sql)?;
    let found = statement.query_map(parameters, row)?.collect::<rusqlite::Result<_>>()?;
    Ok(ChangedSince::Jobs(found))
}

/// The tenant's key that is equal to that of `dedup`, with its job.
pub(super) fn key(
    db: &Connection,
    tenant: &TenantName,
    dedup: &Dedup,
) -> rusqlite::Result<Option<UsedKey>> {
    let sql = "SELECT job, spec, created_at, scheduled_at, on_wall, fingerprint, until
               FROM dedup WHERE tenant = ?1 AND scope = ?2 AND key = ?3";
    let used = |row: &Row<'_>| {
        let (created_at, scheduled_at) = (columns::time(row, 2)?, columns::time(row, 3)?);
        let spec: Arc<JobSpec> = columns::json(row, 1)?;
        let lifecycle = Lifecycle::accepted(&spec, created_at, scheduled_at, row.get(4)?);
        let first = Job {
            id: rows::id(row, 0)?,
            spec,
            created_at,
            lifecycle,
            attempts: vec![],
            output: None,
            progress: None,
        };
        let (fingerprint, until) = (rows::digest(row, 5)?, columns::time(row, 6)?);
        let (key, scope) = (dedup.key.clone(), dedup.scope);
        Ok(UsedKey { dedup: Dedup { key, scope, fingerprint, until }, first })
    };
    let name = params![tenant.as_str(), rows::scope(dedup.scope), dedup.key];
    db.prepare_cached(sql)?.query_row(name, used).optional()
}

/// A page of jobs, newest first.
fn list(
    db: &Connection,
    filter: &JobFilter,
    page: Page,
    now: Timestamp,
) -> rusqlite::Result<JobPage> {
    // One transaction: between two statements a job could move from one table to the other.
    let view = db.unchecked_transaction()?;
    let listing = Listing { filter, page, now };
    let mut found = HashMap::new();
    // Below the higher of the two ends one of the tables has not been looked at.
    let mut seen_down_to = None;
    for (table, finalized) in [("job", false), ("history", true)] {
        if filter.wants(finalized) {
            let end = listing.scan(&view, table, &mut found)?;
            seen_down_to = seen_down_to.max(end);
        }
    }
    let mut jobs: Vec<Job> =
        found.into_values().filter(|job| Some(job.id) >= seen_down_to).collect();
    jobs.sort_unstable_by_key(|job| std::cmp::Reverse(job.id));
    let cut = jobs.len() > page.most;
    jobs.truncate(page.most);
    let next = if cut { jobs.last().map(|job| job.id) } else { seen_down_to };
    Ok(JobPage { jobs, next })
}

/// The jobs that a page may have.
struct Listing<'a> {
    filter: &'a JobFilter,
    page: Page,
    now: Timestamp,
}

impl Listing<'_> {
    /// Adds the matching rows of one table. Returns the last id that it examined, unless that was the end.
    fn scan(
        &self,
        db: &Connection,
        table: &str,
        found: &mut HashMap<JobId, Job>,
    ) -> rusqlite::Result<Option<JobId>> {
        let columns = rows::COLUMNS;
        let sql = format!(
            "SELECT {columns} FROM {table} WHERE id < ?1 {} ORDER BY id DESC",
            // Through an index of all tenants but the default one: a tenant with few jobs does not wait while
            // those of others are skipped.
            match &self.filter.tenant {
                None => "AND ?2 IS NULL",
                Some(tenant) if tenant.is_default() => "AND tenant = ?2",
                Some(_) => "AND tenant = ?2 AND tenant <> 'default'",
            }
        );
        let mut statement = db.prepare_cached(&sql)?;
        let tenant = self.filter.tenant.as_ref().map(TenantName::as_str);
        let below = self.page.before.unwrap_or(JobId::from_bytes([0xff; 16]));
        let mut rows = statement.query(params![below.as_bytes(), tenant])?;
        let (mut matches, mut scanned, mut bytes) = (0, 0, 0);
        while let Some(row) = rows.next()? {
            let job = rows::job(row)?;
            let id = job.id;
            if self.filter.matches(&job, self.now) {
                matches += 1;
                bytes += job.text_bytes();
                found.insert(id, job);
            }
            scanned += 1;
            if matches > self.page.most || scanned >= SCANNED_ROWS || bytes > JobPage::MAX_BYTES {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}
