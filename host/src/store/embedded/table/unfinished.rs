//! The table `job`: unfinished jobs, by the number of their row.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::SignedDuration;
use jobwright_core::attempt::Lease;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, Lifecycle, MAX_RECORDS, NewJob, Payload};
use jobwright_core::ledger::{FoundJob, HostRow, Kept, Place, RowChange};
use jobwright_core::store::Leased;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension as _, Result, Row, params};
use serde_json::value::RawValue;

use super::specs::Specs;
use crate::sqlite::columns::{micros, to_json};
use crate::store::embedded::rows::{self, state};

/// Payloads and outputs up to this length are in the row of their job, longer ones in tables of their own:
/// one row fewer is written for each job, and a page holds some rows all the same.
const INLINE_BYTES: usize = 1024;

/// Calls `each` with every unfinished job, in the order of arrival.
pub(super) fn for_each(
    db: &Connection,
    specs: &mut Specs,
    each: &mut dyn FnMut(FoundJob),
) -> Result<()> {
    let sql = format!(
        "SELECT {}, seq, (SELECT length(bytes) FROM checkpoint WHERE checkpoint.seq = job.seq)
         FROM job ORDER BY seq",
        rows::RAW_COLUMNS
    );
    let mut statement = db.prepare(&sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let number = |column| Ok::<_, Error>(row.get::<_, i64>(column)?.unsigned_abs());
        each(FoundJob {
            job: job(row, specs)?,
            row: number(rows::WIDTH)?,
            payload_bytes: number(rows::WIDTH - 1)?,
            checkpoint_bytes: row.get::<_, Option<i64>>(rows::WIDTH + 1)?.map(i64::unsigned_abs),
        });
    }
    Ok(())
}

/// A job that arrived.
pub(super) struct NewRow<'a> {
    pub(super) at: Place,
    pub(super) job: &'a NewJob,
    /// What the column of its specification has.
    pub(super) spec: &'a str,
    pub(super) lifecycle: &'a Lifecycle,
}

/// Adds a job and its payload.
pub(super) fn insert(db: &Connection, new: &NewRow<'_>) -> Result<()> {
    let NewRow { at, job, spec, lifecycle } = new;
    let sql = "INSERT INTO job (seq, id, spec, payload_bytes, created_at, state, attempt, failures,
                 lost, refused, scheduled_at, attempts, tenant, on_wall, position, payload_type, payload)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, 0, ?7, '[]', ?8, ?9, ?10, ?11, ?12)";
    let bytes = &job.payload.bytes[..];
    let inline = (bytes.len() <= INLINE_BYTES).then_some(bytes);
    db.prepare_cached(sql)?.execute(params![
        at.row.cast_signed(),
        job.id.as_bytes(),
        spec,
        bytes.len() as i64,
        micros(at.now),
        state(lifecycle.state),
        micros(lifecycle.scheduled_at),
        job.spec.tenant.as_str(),
        lifecycle.on_wall,
        at.position.number().cast_signed(),
        job.payload.content_type,
        inline,
    ])?;
    set_bounds(db, at.row, lifecycle)?;
    if inline.is_none() {
        let payload = params![at.row.cast_signed(), job.payload.content_type, bytes];
        db.prepare_cached("INSERT INTO payload VALUES (?1, ?2, ?3)")?.execute(payload)?;
    }
    Ok(())
}

/// A job with its payload, if that is in its row. Its host is known.
const LEASED: &str = concat!(
    "SELECT ",
    rows::columns!("spec", "NULL"),
    ", payload_type, payload FROM job WHERE seq = ?1"
);

/// Reads a claimed job with its payload.
pub(super) fn leased(db: &Connection, at: u64, lease: Lease, specs: &mut Specs) -> Result<Leased> {
    let mut statement = db.prepare_cached(LEASED)?;
    let mut leased = statement.query_row([at.cast_signed()], |row| {
        let job = job(row, specs)?;
        let payload = match row.get::<_, Option<Vec<u8>>>(rows::WIDTH + 1)? {
            Some(bytes) => Payload { content_type: row.get(rows::WIDTH)?, bytes: bytes.into() },
            None => payload(db, at)?,
        };
        Ok(Leased { lease, job, payload, checkpoint: None })
    })?;
    // Most jobs are tried once, and the first attempt finds none.
    if lease.attempt > 1 {
        let sql = "SELECT bytes FROM checkpoint WHERE seq = ?1";
        let read = |row: &Row<'_>| row.get::<_, Vec<u8>>(0);
        let found = db.prepare_cached(sql)?.query_row([at.cast_signed()], read).optional()?;
        leased.checkpoint = found.map(Into::into);
    }
    Ok(leased)
}

/// The job in a row of [`rows::RAW_COLUMNS`].
fn job(row: &Row<'_>, specs: &mut Specs) -> Result<Job> {
    let spec = specs.read_column(row, rows::SPEC)?;
    rows::job_with(row, spec)
}

fn payload(db: &Connection, at: u64) -> Result<Payload> {
    let sql = "SELECT content_type, bytes FROM payload WHERE seq = ?1";
    db.prepare_cached(sql)?.query_row([at.cast_signed()], |row| {
        let bytes: Vec<u8> = row.get(1)?;
        Ok(Payload { content_type: row.get(0)?, bytes: bytes.into() })
    })
}

/// Writes where an unfinished job stands, the number of the host that runs it, and what its attempt left.
pub(super) fn update(db: &Connection, change: &RowChange<'_>, held_by: Option<i64>) -> Result<()> {
    let at = change.row.cast_signed();
    set_lifecycle(db, change, held_by)?;
    set_bounds(db, change.row, change.lifecycle)?;
    if let Some(attempts) = attempts(db, change)? {
        let sql = "UPDATE job SET attempts = ?2 WHERE seq = ?1";
        db.prepare_cached(sql)?.execute(params![at, attempts])?;
    }
    if let Some(progress) = change.progress {
        let sql = "UPDATE job SET progress = ?2 WHERE seq = ?1";
        db.prepare_cached(sql)?.execute(params![at, to_json(progress)?])?;
    }
    if let Some(output) = OutputColumns::of(change) {
        output.write_large(db, change)?;
        let sql =
            "UPDATE job SET output_type = ?2, output_bytes = ?3, output_attempt = ?4, output = ?5
                   WHERE seq = ?1";
        let row = params![at, output.kind, output.bytes, output.attempt, output.inline];
        db.prepare_cached(sql)?.execute(row)?;
    }
    Ok(())
}

/// Writes the bounds on the time of a job that has some.
fn set_bounds(db: &Connection, row: u64, lifecycle: &Lifecycle) -> Result<()> {
    let (start_by, end_by) = (lifecycle.start_by.map(micros), lifecycle.end_by.map(micros));
    if start_by.or(end_by).is_some() {
        let sql = "UPDATE job SET start_by = ?2, end_by = ?3 WHERE seq = ?1";
        db.prepare_cached(sql)?.execute(params![row.cast_signed(), start_by, end_by])?;
    }
    Ok(())
}

fn set_lifecycle(db: &Connection, change: &RowChange<'_>, held_by: Option<i64>) -> Result<()> {
    let now = change.lifecycle;
    let sql = "UPDATE job SET state = ?2, attempt = ?3, failures = ?4, lost = ?5, refused = ?6,
                 scheduled_at = ?7, attempted_at = ?8, finalized_at = ?9, cancel_requested_at = ?10,
                 snoozes = ?11, snoozed_since = ?12, lost_after = ?13, on_wall = ?14, position = ?15,
                 held_by = ?16
               WHERE seq = ?1";
    let changed = db.prepare_cached(sql)?.execute(params![
        change.row.cast_signed(),
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
        change.position.number().cast_signed(),
        held_by,
    ])?;
    // The queue knows a job whose row is not there: memory and disk disagree.
    if changed == 1 { Ok(()) } else { Err(Error::StatementChangedRows(changed)) }
}

/// The columns of an output that is new, or goes.
pub(super) struct OutputColumns<'a> {
    pub(super) kind: Option<&'a str>,
    pub(super) bytes: Option<i64>,
    pub(super) attempt: Option<u32>,
    /// Its bytes, if they are few.
    pub(super) inline: Option<&'a [u8]>,
}

impl<'a> OutputColumns<'a> {
    /// The columns of a job whose output changes.
    pub(super) fn of(change: &RowChange<'a>) -> Option<Self> {
        match change.output {
            Kept::Stays => None,
            Kept::Goes => Some(Self { kind: None, bytes: None, attempt: None, inline: None }),
            Kept::Is(output) => Some(Self {
                kind: Some(&output.content_type),
                bytes: Some(output.bytes.len() as i64),
                attempt: Some(change.lifecycle.attempt),
                inline: Some(&output.bytes[..]).filter(|bytes| bytes.len() <= INLINE_BYTES),
            }),
        }
    }

    /// Writes an output that is not in the row of its job; it replaces an earlier one.
    pub(super) fn write_large(&self, db: &Connection, change: &RowChange<'_>) -> Result<()> {
        let at = change.row.cast_signed();
        match change.output {
            Kept::Stays => Ok(()),
            Kept::Is(output) if self.inline.is_none() => {
                let row = params![at, self.kind, &output.bytes[..]];
                let sql = "INSERT OR REPLACE INTO output VALUES (?1, ?2, ?3)";
                db.prepare_cached(sql)?.execute(row).map(drop)
            }
            // The output of a first attempt replaces none.
            Kept::Is(_) if change.lifecycle.attempt <= 1 => Ok(()),
            Kept::Is(_) | Kept::Goes => {
                db.prepare_cached("DELETE FROM output WHERE seq = ?1")?.execute([at]).map(drop)
            }
        }
    }
}

/// The text of a job's records with that of the attempt that ended; `None` if none did.
pub(super) fn attempts<'a>(
    db: &Connection,
    change: &RowChange<'a>,
) -> Result<Option<Cow<'a, str>>> {
    let Some(ended) = change.ended else { return Ok(None) };
    let made = || to_json(&[ended.record]).map(Cow::Owned);
    let ended = ended.json.map_or_else(made, |json| Ok(Cow::Borrowed(json)))?;
    if change.lifecycle.attempt <= 1 {
        return Ok(Some(ended));
    }
    let sql = "SELECT attempts FROM job WHERE seq = ?1";
    let earlier: String =
        db.prepare_cached(sql)?.query_row([change.row.cast_signed()], |row| row.get(0))?;
    let failed = |error| Error::FromSqlConversionFailure(0, Type::Text, Box::new(error));
    let earlier: Vec<&RawValue> = serde_json::from_str(&earlier).map_err(failed)?;
    let [ended]: [&RawValue; 1] = serde_json::from_str(&ended).map_err(failed)?;
    let kept = earlier.len().saturating_sub(MAX_RECORDS - 1);
    let all: Vec<_> = earlier[kept..].iter().copied().chain([ended]).collect();
    to_json(&all).map(|all| Some(Cow::Owned(all)))
}

/// Stores a checkpoint, which replaces an earlier one.
pub(super) fn set_checkpoint(db: &Connection, at: u64, bytes: &Bytes) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO checkpoint VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute(params![at.cast_signed(), &bytes[..]]).map(drop)
}

pub(super) fn remove_checkpoint(db: &Connection, at: u64) -> Result<()> {
    db.prepare_cached("DELETE FROM checkpoint WHERE seq = ?1")?
        .execute([at.cast_signed()])
        .map(drop)
}

/// A span as it is written: microseconds.
pub(super) fn span(span: SignedDuration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// See [`DurableRows::take_over_times`](jobwright_core::ledger::DurableRows::take_over_times).
pub(super) fn take_over_times(db: &Connection, before: &HostRow, now: Timestamp) -> Result<()> {
    let (ahead, alive_at) = (span(before.ahead), micros(before.alive_at));
    if ahead != 0 {
        let sql =
            "UPDATE job SET snoozed_since = snoozed_since + ?1 WHERE snoozed_since IS NOT NULL";
        db.execute(sql, [ahead])?;
        let sql = "UPDATE job SET end_by = end_by + ?1,
                     start_by = CASE WHEN on_wall = 1 THEN start_by ELSE start_by + ?1 END
                   WHERE start_by IS NOT NULL OR end_by IS NOT NULL";
        db.execute(sql, [ahead])?;
    }
    // Of what was due, the order matters only.
    let sql = "UPDATE job SET scheduled_at = scheduled_at + ?1, on_wall = 1
               WHERE on_wall = 0 AND (scheduled_at > ?2 OR ?1 <> 0)";
    db.execute(sql, [ahead, alive_at])?;
    let sql = "UPDATE job SET scheduled_at = min(scheduled_at, ?1), on_wall = 0,
                 start_by = min(start_by, ?1 + start_by - scheduled_at)
               WHERE scheduled_at <= max(?1, ?2) AND (on_wall = 1 OR scheduled_at > ?1)";
    db.execute(sql, [micros(now), alive_at.saturating_add(ahead)]).map(drop)
}
