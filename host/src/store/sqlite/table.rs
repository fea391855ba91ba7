//! The statements that write `jobs.db`. Each expects to be inside the writer's transaction; none
//! decides anything.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jobwright_core::attempt::{AttemptRecord, Lease};
use jobwright_core::capacity::HeldKeys;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::{Idempotency, Job, JobId, MAX_RECORDS, NewJob, Payload};
use jobwright_core::lifecycle::Lifecycle;
use jobwright_core::outcome::Output;
use jobwright_core::report::Told;
use jobwright_core::store::Leased;
use jobwright_core::tenant::{TenantLimits, TenantName};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::history::{HeldRow, held};
use super::rows::{self, micros, state, to_json};

/// The highest `seq` in use; 0 in an empty store.
pub(super) fn last_seq(db: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT max(coalesce((SELECT max(seq) FROM job), 0),
                          coalesce((SELECT max(seq) FROM history), 0))";
    db.query_row(sql, [], |row| row.get(0))
}

/// Calls `each` with every unfinished job and its payload's length, in the order of arrival.
pub(super) fn for_each_unfinished(
    db: &Connection,
    mut each: impl FnMut(Job, u64),
) -> rusqlite::Result<()> {
    let sql = format!("SELECT {} FROM job ORDER BY seq", rows::COLUMNS);
    let mut statement = db.prepare(&sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let payload_bytes: i64 = row.get(rows::WIDTH - 1)?;
        each(rows::job(row)?, payload_bytes.unsigned_abs());
    }
    Ok(())
}

/// What is known of the host that uses the store, or used it last.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostRow {
    /// The time of its latest commit.
    pub(super) alive_at: Timestamp,
    /// How many attempts it and the hosts before it finished.
    pub(super) finished: u64,
    /// How far the wall clock was ahead of its own then.
    pub(super) ahead: SignedDuration,
}

/// What is known of the host that used the store last.
pub(super) fn host(db: &Connection) -> rusqlite::Result<HostRow> {
    let row = |row: &Row<'_>| {
        let finished: i64 = row.get(1)?;
        let (finished, ahead) = (finished.unsigned_abs(), SignedDuration::from_micros(row.get(2)?));
        Ok(HostRow { alive_at: rows::time(row, 0)?, finished, ahead })
    };
    db.query_row("SELECT alive_at, finished, ahead FROM host", [], row)
}

/// Remembers what is known of the host.
pub(super) fn set_host(db: &Connection, host: HostRow) -> rusqlite::Result<()> {
    let row = params![micros(host.alive_at), host.finished.cast_signed(), span(host.ahead)];
    let sql = "UPDATE host SET alive_at = ?1, finished = ?2, ahead = ?3";
    db.prepare_cached(sql)?.execute(row).map(drop)
}

/// A span as it is written: microseconds.
fn span(span: SignedDuration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Makes the times of unfinished jobs, which the host that used the store before has written, those of a
/// host that starts at `now` and whose clock says what the wall clock does. What was due is due, also if
/// the clock was set back meanwhile; what was not waits for the wall clock.
pub(super) fn take_over_times(
    db: &Connection,
    before: HostRow,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let (ahead, alive_at) = (span(before.ahead), micros(before.alive_at));
    if ahead != 0 {
        let sql =
            "UPDATE job SET snoozed_since = snoozed_since + ?1 WHERE snoozed_since IS NOT NULL";
        db.execute(sql, [ahead])?;
    }
    // Of what was due, the order matters only.
    let sql = "UPDATE job SET scheduled_at = scheduled_at + ?1, on_wall = 1
               WHERE on_wall = 0 AND (scheduled_at > ?2 OR ?1 <> 0)";
    db.execute(sql, [ahead, alive_at])?;
    let sql = "UPDATE job SET scheduled_at = min(scheduled_at, ?1), on_wall = 0
               WHERE scheduled_at <= max(?1, ?2) AND (on_wall = 1 OR scheduled_at > ?1)";
    db.execute(sql, [micros(now), alive_at.saturating_add(ahead)]).map(drop)
}

/// What is held, with the note of each.
pub(super) fn holds(db: &Connection) -> rusqlite::Result<BTreeMap<Hold, HoldNote>> {
    let read = |row: &Row<'_>| Ok((rows::json(row, 0)?, rows::json(row, 1)?));
    db.prepare("SELECT hold, note FROM hold")?.query_map([], read)?.collect()
}

/// Remembers that something is held, with a note; or not any more.
pub(super) fn set_held(
    db: &Connection,
    hold: &Hold,
    note: Option<&HoldNote>,
) -> rusqlite::Result<()> {
    let hold = to_json(hold)?;
    let Some(note) = note else {
        return db.prepare_cached("DELETE FROM hold WHERE hold = ?1")?.execute([hold]).map(drop);
    };
    let sql = "INSERT OR REPLACE INTO hold (hold, note) VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute([hold, to_json(note)?]).map(drop)
}

/// The tenants that have limits of their own.
pub(super) fn tenants(db: &Connection) -> rusqlite::Result<Vec<(TenantName, TenantLimits)>> {
    let tenant = |row: &Row<'_>| Ok((rows::tenant(row, 0)?, rows::json(row, 1)?));
    db.prepare("SELECT name, limits FROM tenant")?.query_map([], tenant)?.collect()
}

/// Remembers the limits of a tenant that has some.
pub(super) fn set_tenant(
    db: &Connection,
    name: &TenantName,
    limits: &TenantLimits,
) -> rusqlite::Result<()> {
    if *limits == TenantLimits::default() {
        let sql = "DELETE FROM tenant WHERE name = ?1";
        return db.prepare_cached(sql)?.execute([name.as_str()]).map(drop);
    }
    let sql = "INSERT OR REPLACE INTO tenant VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute(params![name.as_str(), to_json(limits)?]).map(drop)
}

/// Adds a job and its payload.
pub(super) fn insert(
    db: &Connection,
    seq: i64,
    job: &NewJob,
    lifecycle: &Lifecycle,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO job (seq, id, spec, payload_bytes, created_at, state, attempt, failures,
                 lost, refused, scheduled_at, attempts, tenant, on_wall)
               VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, 0, 0, ?6, '[]', ?7, ?8)";
    let (created_at, scheduled_at) = (micros(now), micros(lifecycle.scheduled_at));
    let length = job.payload.bytes.len() as i64;
    let (spec, tenant) = (to_json(&job.spec)?, job.spec.tenant.as_str());
    let (id, on_wall) = (job.id.as_bytes(), lifecycle.on_wall);
    let row = params![seq, id, spec, length, created_at, scheduled_at, tenant, on_wall];
    db.prepare_cached(sql)?.execute(row)?;
    let payload = params![seq, job.payload.content_type, &job.payload.bytes[..]];
    db.prepare_cached("INSERT INTO payload VALUES (?1, ?2, ?3)")?.execute(payload).map(drop)
}

/// Remembers the answer to a request with this key.
pub(super) fn remember_key(db: &Connection, id: JobId, key: &Idempotency) -> rusqlite::Result<()> {
    // Replaces one that has expired and was not pruned yet.
    let sql = "INSERT OR REPLACE INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5)";
    let (fingerprint, expires_at) = (key.fingerprint.to_string(), micros(key.expires_at));
    let row = params![key.key, fingerprint, id.as_bytes(), &key.answer[..], expires_at];
    db.prepare_cached(sql)?.execute(row).map(drop)
}

/// Reads a claimed job with its payload.
pub(super) fn leased(db: &Connection, lease: Lease) -> rusqlite::Result<Leased> {
    let sql = format!(
        "SELECT {}, content_type, bytes FROM job JOIN payload USING (seq) WHERE id = ?1",
        rows::COLUMNS
    );
    let read = |row: &Row<'_>| {
        let bytes: Vec<u8> = row.get(rows::WIDTH + 1)?;
        let payload = Payload { content_type: row.get(rows::WIDTH)?, bytes: bytes.into() };
        Ok(Leased { lease, job: rows::job(row)?, payload, checkpoint: None })
    };
    let mut leased = db.prepare_cached(&sql)?.query_row([lease.job.as_bytes()], read)?;
    // Most jobs are tried once, and the first attempt finds none.
    if lease.attempt > 1 {
        let sql = "SELECT bytes FROM checkpoint JOIN job USING (seq) WHERE id = ?1";
        let read = |row: &Row<'_>| row.get::<_, Vec<u8>>(0);
        let found = db.prepare_cached(sql)?.query_row([lease.job.as_bytes()], read).optional()?;
        leased.checkpoint = found.map(Into::into);
    }
    Ok(leased)
}

/// Writes where an unfinished job stands.
pub(super) fn update(db: &Connection, id: JobId, now: &Lifecycle) -> rusqlite::Result<()> {
    let sql = "UPDATE job SET state = ?2, attempt = ?3, failures = ?4, lost = ?5, refused = ?6,
                 scheduled_at = ?7, attempted_at = ?8, finalized_at = ?9, cancel_requested_at = ?10,
                 snoozes = ?11, snoozed_since = ?12, lost_after = ?13, on_wall = ?14
               WHERE id = ?1";
    let changed = db.prepare_cached(sql)?.execute(params![
        id.as_bytes(),
        state(now.state),
        now.attempt,
        now.failures,
        now.lost,
        now.refused,
        micros(now.scheduled_at),
        now.attempted_at.map(micros),
        now.finalized_at.map(micros),
        now.cancel_requested_at.map(micros),
        now.snoozes,
        now.snoozed_since.map(micros),
        now.lost_after.map(u64::cast_signed),
        now.on_wall,
    ])?;
    // The queue knows a job whose row is not there: memory and disk disagree.
    if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
}

/// Writes where a job stands after a transition, and the attempt that it ended; moves it to the
/// history if it is over, and answers what it takes there.
pub(super) fn transition(
    db: &Connection,
    id: JobId,
    now: &Lifecycle,
    ended: Option<&AttemptRecord>,
) -> rusqlite::Result<Option<HeldRow>> {
    if let Some(record) = ended {
        let sql = "UPDATE job SET attempts = json_insert(
                     CASE WHEN json_array_length(attempts) < ?3 THEN attempts
                          ELSE json_remove(attempts, '$[0]') END, '$[#]', json(?2))
                   WHERE id = ?1";
        let row = params![id.as_bytes(), to_json(record)?, MAX_RECORDS as i64];
        db.prepare_cached(sql)?.execute(row)?;
    }
    update(db, id, now)?;
    if now.state.is_finalized() {
        let sql = "DELETE FROM checkpoint WHERE seq = (SELECT seq FROM job WHERE id = ?1)";
        db.prepare_cached(sql)?.execute([id.as_bytes()])?;
        let sql = "INSERT INTO history SELECT * FROM job WHERE id = ?1";
        db.prepare_cached(sql)?.execute([id.as_bytes()])?;
        let sql = "DELETE FROM job WHERE id = ?1 RETURNING tenant, payload_bytes, output_bytes";
        return db.prepare_cached(sql)?.query_row([id.as_bytes()], |row| held(row, 0)).map(Some);
    }
    Ok(None)
}

/// Keeps what an attempt at an unfinished job told.
pub(super) fn keep_told(db: &Connection, id: JobId, told: &Told) -> rusqlite::Result<()> {
    if let Some(progress) = &told.progress {
        let sql = "UPDATE job SET progress = ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![id.as_bytes(), to_json(progress)?])?;
    }
    if let Some(state) = &told.checkpoint {
        let sql = "INSERT OR REPLACE INTO checkpoint SELECT seq, ?2 FROM job WHERE id = ?1";
        db.prepare_cached(sql)?.execute(params![id.as_bytes(), &state[..]])?;
    }
    Ok(())
}

/// Removes the checkpoints of these unfinished jobs.
pub(super) fn remove_checkpoints(db: &Connection, jobs: &[JobId]) -> rusqlite::Result<()> {
    let sql = "DELETE FROM checkpoint WHERE seq = (SELECT seq FROM job WHERE id = ?1)";
    let mut delete = db.prepare_cached(sql)?;
    jobs.iter().try_for_each(|id| delete.execute([id.as_bytes()]).map(drop))
}

/// Keeps what an attempt that is about to be ended has left, in place of what an earlier one left.
pub(super) fn insert_output(
    db: &Connection,
    lease: &Lease,
    output: &Output,
) -> rusqlite::Result<()> {
    let sql = "UPDATE job SET output_type = ?2, output_bytes = ?3, output_attempt = ?4
               WHERE id = ?1 RETURNING seq";
    let (kind, length) = (&output.content_type, output.bytes.len() as i64);
    let row = params![lease.job.as_bytes(), kind, length, lease.attempt];
    let seq: i64 = db.prepare_cached(sql)?.query_row(row, |row| row.get(0))?;
    let row = params![seq, kind, &output.bytes[..]];
    db.prepare_cached("INSERT OR REPLACE INTO output VALUES (?1, ?2, ?3)")?.execute(row).map(drop)
}

/// Removes what an earlier attempt at an unfinished job has left.
pub(super) fn remove_output(db: &Connection, id: JobId) -> rusqlite::Result<()> {
    let sql = "DELETE FROM output WHERE seq = (SELECT seq FROM job WHERE id = ?1)";
    db.prepare_cached(sql)?.execute([id.as_bytes()])?;
    let sql = "UPDATE job SET output_type = NULL, output_bytes = NULL, output_attempt = NULL
               WHERE id = ?1";
    db.prepare_cached(sql)?.execute([id.as_bytes()]).map(drop)
}

/// The length of a finalized job's payload.
pub(super) fn payload_bytes(db: &Connection, id: JobId) -> rusqlite::Result<u64> {
    let sql = "SELECT payload_bytes FROM history WHERE id = ?1";
    let bytes: i64 = db.query_row(sql, [id.as_bytes()], |row| row.get(0))?;
    Ok(bytes.unsigned_abs())
}

/// Moves a finalized job back from the history, with what it left, as the latest to arrive; answers what
/// it took there.
pub(super) fn revive(
    db: &Connection,
    seq: i64,
    id: JobId,
    now: &Lifecycle,
) -> rusqlite::Result<HeldRow> {
    let sql = "SELECT tenant, payload_bytes, output_bytes, seq FROM history WHERE id = ?1";
    let found = |row: &Row<'_>| Ok((held(row, 0)?, row.get(3)?));
    let (held, old): (HeldRow, i64) = db.prepare_cached(sql)?.query_row([id.as_bytes()], found)?;
    for sql in [
        "UPDATE payload SET seq = ?2 WHERE seq = ?1",
        "UPDATE output SET seq = ?2 WHERE seq = ?1",
        "UPDATE history SET seq = ?2, progress = NULL WHERE seq = ?1",
    ] {
        db.prepare_cached(sql)?.execute([old, seq])?;
    }
    db.prepare_cached("INSERT INTO job SELECT * FROM history WHERE seq = ?1")?.execute([seq])?;
    db.prepare_cached("DELETE FROM history WHERE seq = ?1")?.execute([seq])?;
    update(db, id, now)?;
    Ok(held)
}

/// What the tables take of the file, in bytes: it does not shrink, but what is free in it is used
/// again.
pub(super) fn used_bytes(db: &Connection) -> rusqlite::Result<u64> {
    Ok(file_bytes(db)?.saturating_sub(free_bytes(db)?))
}

/// What the file takes, in bytes.
pub(super) fn file_bytes(db: &Connection) -> rusqlite::Result<u64> {
    bytes_of_pages(db, "PRAGMA page_count")
}

/// What is free in the file, in bytes.
pub(crate) fn free_bytes(db: &Connection) -> rusqlite::Result<u64> {
    bytes_of_pages(db, "PRAGMA freelist_count")
}

fn bytes_of_pages(db: &Connection, counted: &str) -> rusqlite::Result<u64> {
    let number = |pragma: &str| -> rusqlite::Result<i64> {
        db.prepare_cached(pragma)?.query_row([], |row| row.get(0))
    };
    Ok((number(counted)? * number("PRAGMA page_size")?).unsigned_abs())
}

/// What the answers to idempotency keys take, as `Idempotency::bytes` counts them.
pub(super) fn keys(db: &Connection) -> rusqlite::Result<HeldKeys> {
    // A tenant's name is before the first unit separator; of the usual one there is none.
    let sql = "SELECT substr(key, 1, instr(key, char(31)) - 1),
                      sum(length(CAST(key AS BLOB)) + length(answer) + ?1)
               FROM idempotency GROUP BY 1";
    let each = Idempotency::ROW_BYTES.cast_signed();
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([each], |row| {
        let (tenant, bytes): (String, i64) = (row.get(0)?, row.get(1)?);
        Ok((tenant.parse().unwrap_or_default(), bytes.unsigned_abs()))
    })?;
    rows.collect()
}

/// Calls `each` with every unfinished job that has a checkpoint, and its length.
pub(super) fn for_each_checkpoint(
    db: &Connection,
    mut each: impl FnMut(JobId, &TenantName, u64),
) -> rusqlite::Result<()> {
    let sql = "SELECT id, length(bytes), tenant FROM checkpoint JOIN job USING (seq)";
    let mut statement = db.prepare(sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let length = row.get::<_, i64>(1)?.unsigned_abs();
        each(rows::id(row, 0)?, &rows::tenant(row, 2)?, length);
    }
    Ok(())
}
