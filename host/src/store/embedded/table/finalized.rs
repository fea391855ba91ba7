//! The table `history`: finalized jobs, by the position of their last change, which is the order in which
//! they ended. A job of an earlier schema has the number of its row as its position.

use jobwright_core::change::Position;
use jobwright_core::job::JobId;
use jobwright_core::ledger::{FinalizedRow, Place, REMOVED_TOGETHER, RowChange};
use jobwright_core::store::Retention;
use jobwright_core::tenant::TenantName;
use rusqlite::{Connection, Error, Result, Row, ToSql, params};

use super::unfinished::{OutputColumns, attempts};
use crate::sqlite::columns::{self, micros, to_json};
use crate::store::embedded::rows::{self, state};

/// How many of a tenant's oldest jobs are looked at for each that goes, as an index has them: a job that
/// is old and has ended just now is then not the first to go.
const LOOKED_FOR_EACH: usize = 8;

/// The columns that a job takes along when it is finalized or revived, whatever becomes of it.
macro_rules! carried {
    () => {
        "id, spec, payload_bytes, created_at, tenant, payload_type, payload"
    };
}

/// The columns of its output.
macro_rules! output {
    () => {
        "output_type, output_bytes, output_attempt, output"
    };
}

/// The columns of its state and its attempts.
macro_rules! standing {
    () => {
        "attempts, progress, state, attempt, failures, lost, refused, scheduled_at, attempted_at, \
         finalized_at, cancel_requested_at, snoozes, snoozed_since, lost_after, on_wall"
    };
}

/// All of them.
macro_rules! columns {
    () => {
        concat!(carried!(), ", ", standing!(), ", ", output!())
    };
}

/// Moves a row of `job` to `history`, with the columns of the output in `$output`. `OR FAIL`, as SQLite would
/// otherwise copy each page before it changes it, to undo a statement that fails between two rows: this has one.
macro_rules! move_with {
    ($output:expr) => {
        concat!(
            "INSERT OR FAIL INTO history (position, seq, start_by, end_by, ",
            columns!(),
            ") SELECT ?1, seq, start_by, end_by, ",
            carried!(),
            ", coalesce(?3, attempts), coalesce(?4, progress), ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
             ?13, ?14, ?15, ?16, ?17, ",
            $output,
            " FROM job WHERE seq = ?2"
        )
    };
}

/// Moves a job whose output stays as it is.
const MOVE: &str = move_with!(output!());

/// Moves a job with a new output.
const MOVE_WITH_OUTPUT: &str = move_with!("?18, ?19, ?20, ?21");

/// Moves a finalized job back to `job`, without the bounds on its time.
const REVIVE: &str = concat!(
    "INSERT INTO job (seq, position, ",
    columns!(),
    ") SELECT ?2, ?3, ",
    columns!(),
    " FROM history WHERE position = ?1"
);

/// Moves a job that is over from `job` to `history`.
pub(super) fn finalize(db: &Connection, change: &RowChange<'_>) -> Result<()> {
    let (at, now) = (change.row.cast_signed(), change.lifecycle);
    let position = change.position.number().cast_signed();
    let attempts = attempts(db, change)?;
    let progress = change.progress.map(to_json).transpose()?;
    let standing: [&dyn ToSql; 15] = [
        &attempts,
        &progress,
        &state(now.state),
        &now.attempt,
        &now.failures,
        &now.lost,
        &now.refused,
        &micros(now.scheduled_at),
        &now.attempted_at.map(micros),
        &now.finalized_at.map(micros),
        &now.cancel_requested_at.map(micros),
        &now.snoozes,
        &now.snoozed_since.map(micros),
        &now.lost_after.map(u64::cast_signed),
        &now.on_wall,
    ];
    let mut row: Vec<&dyn ToSql> = vec![&position, &at];
    row.extend(standing);
    let moved = match OutputColumns::of(change) {
        None => db.prepare_cached(MOVE)?.execute(&row[..])?,
        Some(output) => {
            output.write_large(db, change)?;
            let columns: [&dyn ToSql; 4] =
                [&output.kind, &output.bytes, &output.attempt, &output.inline];
            row.extend(columns);
            db.prepare_cached(MOVE_WITH_OUTPUT)?.execute(&row[..])?
        }
    };
    // The queue knows a job whose row is not there: memory and disk disagree.
    if moved != 1 {
        return Err(Error::StatementChangedRows(moved));
    }
    db.prepare_cached("DELETE FROM job WHERE seq = ?1")?.execute([at]).map(drop)
}

/// Moves a finalized job back to `job`, with its output, as the latest to arrive.
pub(super) fn revive(db: &Connection, at: Place, id: JobId) -> Result<()> {
    let sql = "SELECT position, coalesce(seq, position) FROM history WHERE id = ?1";
    let (position, before): (i64, i64) =
        db.query_row(sql, [id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let row = at.row.cast_signed();
    for sql in
        ["UPDATE payload SET seq = ?2 WHERE seq = ?1", "UPDATE output SET seq = ?2 WHERE seq = ?1"]
    {
        db.prepare_cached(sql)?.execute([before, row])?;
    }
    db.execute(REVIVE, [position, row, at.position.number().cast_signed()])?;
    db.execute("UPDATE job SET progress = NULL WHERE seq = ?1", [row])?;
    db.execute("DELETE FROM history WHERE position = ?1", [position]).map(drop)
}

/// Removes [`REMOVED_TOGETHER`] jobs, which costs a quarter less than one statement for each.
const REMOVE: &str = "DELETE FROM history WHERE position IN (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, \
     ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, \
     ?31, ?32)";

/// Removes finalized jobs with their payloads and outputs.
pub(super) fn remove(db: &Connection, jobs: &[FinalizedRow]) -> Result<()> {
    for together in jobs.chunks(REMOVED_TOGETHER) {
        // Parameters without a value are NULL, which is equal to no position.
        let positions = together.iter().map(|job| job.position.number().cast_signed());
        let mut statement = db.prepare_cached(REMOVE)?;
        for (parameter, position) in (1..).zip(positions) {
            statement.raw_bind_parameter(parameter, position)?;
        }
        statement.raw_execute()?;
    }
    for job in jobs {
        let Some(apart) = job.apart else { continue };
        for sql in ["DELETE FROM payload WHERE seq = ?1", "DELETE FROM output WHERE seq = ?1"] {
            db.prepare_cached(sql)?.execute([apart.cast_signed()])?;
        }
    }
    Ok(())
}

/// The columns of [`row`].
const COLUMNS: &str = "position, id, tenant, payload_bytes, output_bytes, finalized_at, \
     CASE WHEN payload IS NULL OR (output IS NULL AND output_bytes > 0)
          THEN coalesce(seq, position) END";

/// A finalized job, and when it ended.
fn row(row: &Row<'_>) -> Result<(FinalizedRow, i64)> {
    let number = |column| Ok::<_, Error>(row.get::<_, i64>(column)?.unsigned_abs());
    let optional =
        |column| Ok::<_, Error>(row.get::<_, Option<i64>>(column)?.map(i64::unsigned_abs));
    let found = FinalizedRow {
        position: Position::from_number(number(0)?),
        id: rows::id(row, 1)?,
        tenant: columns::tenant(row, 2)?,
        apart: optional(6)?,
        bytes: number(3)? + optional(4)?.unwrap_or(0),
    };
    Ok((found, row.get(5)?))
}

/// Positions below which nothing is left to be found, so that jobs that stay longer are not passed over
/// again and again.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    /// The cursor of completed and cancelled jobs.
    completed: i64,
    /// The cursor of jobs of the default tenant.
    default_tenant: i64,
}

impl Cursors {
    /// At most `most` jobs that are past their retention.
    pub(super) fn expired(
        &mut self,
        db: &Connection,
        retention: &Retention,
        most: usize,
    ) -> Result<Vec<FinalizedRow>> {
        let of = |found: Vec<(FinalizedRow, i64)>, before| {
            let expired = found.into_iter().take_while(move |(_, ended)| *ended < micros(before));
            expired.map(|(job, _)| job)
        };
        let discarded = first(db, FAILED, 0, most)?;
        let mut expired: Vec<_> = of(discarded, retention.discarded_before).collect();
        let others = first(db, NOT_FAILED, self.completed, most - expired.len())?;
        let others: Vec<_> = of(others, retention.completed_before).collect();
        self.completed = last_position(&others).unwrap_or(self.completed);
        expired.extend(others);
        Ok(expired)
    }

    /// The `most` jobs of `tenant` that ended first.
    pub(super) fn oldest(
        &mut self,
        db: &Connection,
        tenant: &TenantName,
        most: usize,
    ) -> Result<Vec<FinalizedRow>> {
        if !tenant.is_default() {
            return oldest_by_id(db, tenant, most);
        }
        let found = first(db, "tenant = 'default'", self.default_tenant, most)?;
        let oldest: Vec<_> = found.into_iter().map(|(job, _)| job).collect();
        // Not the last position: the caller removes as many of them as it wants.
        let before_first = oldest.first().map(|job| job.position.number().cast_signed() - 1);
        self.default_tenant = before_first.unwrap_or(self.default_tenant);
        Ok(oldest)
    }
}

/// The jobs that [failed](jobwright_core::job::JobState::has_failed), by the numbers of their states in `rows::state`. An
/// index has these, so another state needs a step of the schema.
const FAILED: &str = "state IN (3, 5)";

/// The others.
const NOT_FAILED: &str = "state NOT IN (3, 5)";

/// The first jobs behind the position `after` for which `condition` holds, at most `most`, and when each ended.
fn first(
    db: &Connection,
    condition: &str,
    after: i64,
    most: usize,
) -> Result<Vec<(FinalizedRow, i64)>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM history WHERE {condition} AND position > ?1
         ORDER BY position LIMIT ?2"
    );
    let mut query = db.prepare_cached(&sql)?;
    query.query_map([after, most as i64], row)?.collect()
}

fn last_position(jobs: &[FinalizedRow]) -> Option<i64> {
    jobs.last().map(|job| job.position.number().cast_signed())
}

/// As [`Cursors::oldest`], by an index that has the jobs of all tenants but the default one.
fn oldest_by_id(db: &Connection, tenant: &TenantName, most: usize) -> Result<Vec<FinalizedRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM history WHERE tenant = ?1 AND tenant <> 'default'
         ORDER BY id LIMIT ?2"
    );
    let mut query = db.prepare_cached(&sql)?;
    let parameters = params![tenant.as_str(), (most * LOOKED_FOR_EACH) as i64];
    let mut oldest = query.query_map(parameters, row)?.collect::<Result<Vec<_>>>()?;
    oldest.sort_unstable_by_key(|(job, ended)| (*ended, job.position));
    oldest.truncate(most);
    Ok(oldest.into_iter().map(|(job, _)| job).collect())
}

#[cfg(test)]
mod tests {
    use jobwright_core::job::JobState;

    use super::*;

    #[test]
    fn the_condition_of_failed_jobs_names_each_state_that_is_one() {
        let failed = JobState::ALL.iter().filter(|state| state.has_failed());
        let numbers: Vec<_> = failed.map(|failed| state(*failed).to_string()).collect();
        assert_eq!(FAILED, format!("state IN ({})", numbers.join(", ")));
    }
}
