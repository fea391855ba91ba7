//! Writes a job as a row, and reads it back. Only this file knows the columns.

use std::sync::Arc;

use jobwright_core::clock::Timestamp;
use jobwright_core::host::HostId;
use jobwright_core::job::{DedupScope, Job, JobId, JobSpec, JobState, Lifecycle, OutputInfo};
use jobwright_core::plugin::Digest;
use rusqlite::Row;
use rusqlite::types::Type;

use crate::sqlite::columns::{json, time, unreadable};

/// The columns of `job` and `history`, but for `seq`, in the order that [`job`] reads them, with this expression
/// for the specification and this one for the id of the host.
macro_rules! columns {
    ($spec:literal, $host:expr) => {
        concat!(
            "id, ",
            $spec,
            ", created_at, attempts, output_type, output_bytes, state, attempt, failures, lost, \
             refused, scheduled_at, attempted_at, finalized_at, cancel_requested_at, progress, \
             snoozes, snoozed_since, output_attempt, lost_after, on_wall, ",
            $host,
            ", start_by, end_by, payload_bytes"
        )
    };
}
pub(super) use columns;

/// The id of the host that runs a job.
macro_rules! host {
    () => {
        "CASE WHEN held_by NOTNULL THEN (SELECT host.id FROM host WHERE host.number = held_by) END"
    };
}

/// The columns, with the specification as JSON.
pub(super) const COLUMNS: &str =
    columns!("coalesce((SELECT json FROM shared_spec WHERE number = spec), spec)", host!());

/// The columns, with the specification as it is.
pub(super) const RAW_COLUMNS: &str = columns!("spec", host!());

/// The column of the specification.
pub(super) const SPEC: usize = 1;

/// Where [`COLUMNS`] end.
pub(super) const WIDTH: usize = 25;

/// The job in a row of [`COLUMNS`].
pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    job_with(row, json(row, SPEC)?)
}

/// The job in a row of [`COLUMNS`] whose specification is `spec`.
pub(super) fn job_with(row: &Row<'_>, spec: Arc<JobSpec>) -> rusqlite::Result<Job> {
    let output_type: Option<String> = row.get(4)?;
    let output_bytes: Option<i64> = row.get(5)?;
    // Earlier versions kept that of a success alone, which is the latest attempt.
    let attempt = row.get::<_, Option<u32>>(18)?.map_or_else(|| row.get(7), Ok)?;
    Ok(Job {
        id: id(row, 0)?,
        spec,
        created_at: time(row, 2)?,
        attempts: json(row, 3)?,
        output: output_type
            .zip(output_bytes)
            .map(|(content_type, bytes)| (content_type, bytes.unsigned_abs()))
            .map(|(content_type, bytes)| OutputInfo { content_type, bytes, attempt }),
        lifecycle: lifecycle(row)?,
        progress: row.get::<_, Option<String>>(15)?.map(|_| json(row, 15)).transpose()?,
    })
}

fn lifecycle(row: &Row<'_>) -> rusqlite::Result<Lifecycle> {
    Ok(Lifecycle {
        state: state_of(row, 6)?,
        attempt: row.get(7)?,
        failures: row.get(8)?,
        lost: row.get(9)?,
        refused: row.get(10)?,
        snoozes: row.get(16)?,
        snoozed_since: optional_time(row, 17)?,
        scheduled_at: time(row, 11)?,
        on_wall: row.get(20)?,
        attempted_at: optional_time(row, 12)?,
        host: row.get::<_, Option<_>>(21)?.map(HostId::from_bytes),
        finalized_at: optional_time(row, 13)?,
        cancel_requested_at: optional_time(row, 14)?,
        start_by: optional_time(row, 22)?,
        end_by: optional_time(row, 23)?,
        lost_after: row.get::<_, Option<i64>>(19)?.map(i64::unsigned_abs),
    })
}

/// The number that stands for a state.
pub(super) fn state(state: JobState) -> i64 {
    match state {
        JobState::Available => 0,
        JobState::Running => 1,
        JobState::Completed => 2,
        JobState::Discarded => 3,
        JobState::Cancelled => 4,
        JobState::Expired => 5,
    }
}

fn state_of(row: &Row<'_>, column: usize) -> rusqlite::Result<JobState> {
    let number: i64 = row.get(column)?;
    let found = JobState::ALL.iter().copied().find(|found| state(*found) == number);
    found.ok_or_else(|| unreadable(column, Type::Integer, format!("{number} is not a job state")))
}

/// The number that stands for a scope of keys.
pub(super) fn scope(scope: DedupScope) -> i64 {
    match scope {
        DedupScope::Request => 0,
    }
}

/// The digest in a column.
pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text: String = row.get(column)?;
    let digest = text.parse();
    digest.map_err(|error| unreadable(column, Type::Text, format!("`{text}`: {error}")))
}

fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column)? {
        None => Ok(None),
        Some(_) => time(row, column).map(Some),
    }
}

/// The id in a column.
pub(super) fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<JobId> {
    row.get(column).map(JobId::from_bytes)
}
