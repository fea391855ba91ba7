//! The specifications of jobs in the column `spec`. Most jobs share theirs with others, and it is the
//! largest part of a row: a specification that is written more than once goes to the table `shared_spec`, and
//! the column has its number. Others are in the column itself, as JSON.
//!
//! A shared specification outlives its jobs, so one with arguments, variables or tags is not shared: what
//! submitters wrote goes when the job is removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jobwright_core::job::JobSpec;
use jobwright_core::tenant::TenantName;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Result, Row, params};

use crate::sqlite::columns::{json, to_json};

/// The maximum number of shared specifications. Beyond it, further ones are written in their columns.
const MOST_SHARED: usize = 4096;

/// The maximum number of one tenant, so that the jobs of no tenant become slower because another submits many
/// different ones.
const MOST_OF_TENANT: usize = MOST_SHARED / 8;

/// The longest specification that is shared or remembered, as JSON: with [`MOST_SHARED`] it bounds the memory.
const MOST_BYTES: usize = 4096;

/// How many specifications that came once are remembered, to know them when they come again.
const REMEMBERED: usize = 256;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub(super) struct Specs {
    /// The numbers of shared specifications, by their JSON.
    numbers: HashMap<Arc<str>, i64>,
    /// The shared specifications by what the column has for them.
    shared: HashMap<Box<str>, Arc<JobSpec>>,
    /// How many each tenant shares.
    of_tenants: HashMap<TenantName, usize>,
    /// Specifications that were written in their columns lately.
    seen_once: HashSet<Arc<str>>,
    /// Specifications that were read lately and are not shared, by their JSON.
    parsed: HashMap<Box<str>, Arc<JobSpec>>,
    /// The specification that was written last: jobs that arrive together mostly share theirs.
    last: Option<(Arc<JobSpec>, Column)>,
}

/// The contents of a column.
#[derive(Debug, Clone)]
pub(super) enum Column {
    /// The number of a shared specification.
    Number(Arc<str>),
    /// A specification.
    Json(Arc<str>),
}

impl Column {
    /// What is in the column.
    pub(super) fn text(&self) -> &str {
        let (Self::Number(text) | Self::Json(text)) = self;
        text
    }

    /// Whether the specification is shared, in the table and in memory.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Number(_))
    }
}

impl Specs {
    /// The specifications that are shared in `db`. Removes those that no job has any more, if there is no room
    /// for others, of all tenants or of one.
    pub(super) fn load(db: &Connection) -> Result<Self> {
        let mut specs = Self::default();
        specs.read(db)?;
        let is_full = specs.numbers.len() >= MOST_SHARED;
        if is_full || specs.of_tenants.values().any(|count| *count >= MOST_OF_TENANT) {
            remove_unused(db)?;
            specs = Self::default();
            specs.read(db)?;
        }
        Ok(specs)
    }

    fn read(&mut self, db: &Connection) -> Result<()> {
        let mut statement = db.prepare("SELECT number, json FROM shared_spec")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.share(row.get(0)?, Arc::new(json(row, 1)?), row.get::<_, String>(1)?.into());
        }
        Ok(())
    }

    fn share(&mut self, number: i64, spec: Arc<JobSpec>, json: Arc<str>) {
        self.numbers.insert(json, number);
        *self.of_tenants.entry(spec.tenant.clone()).or_default() += 1;
        self.shared.insert(number.to_string().into(), spec);
    }

    /// The contents of the column of a new job with this specification, which is replaced by an equal one that is
    /// in memory already.
    pub(super) fn column(&mut self, db: &Connection, spec: &mut Arc<JobSpec>) -> Result<Column> {
        let column = match &self.last {
            Some((last, column @ Column::Number(_))) if last == spec => {
                spec.clone_from(last);
                return Ok(column.clone());
            }
            Some((last, Column::Json(json))) if last == spec => {
                self.column_of(db, spec, json.clone())?
            }
            _ => self.column_of(db, spec, to_json(&**spec)?.into())?,
        };
        self.last = Some((spec.clone(), column.clone()));
        Ok(column)
    }

    fn column_of(
        &mut self,
        db: &Connection,
        spec: &mut Arc<JobSpec>,
        json: Arc<str>,
    ) -> Result<Column> {
        if let Some(number) = self.numbers.get(&json) {
            let number = number.to_string();
            if let Some(shared) = self.shared.get(&*number) {
                spec.clone_from(shared);
            }
            return Ok(Column::Number(number.into()));
        }
        if json.len() > MOST_BYTES || !self.may_share(spec) {
            return Ok(Column::Json(json));
        }
        if !self.seen_once.remove(&json) {
            if self.seen_once.len() >= REMEMBERED {
                self.seen_once.clear();
            }
            self.seen_once.insert(json.clone());
            return Ok(Column::Json(json));
        }
        db.prepare_cached("INSERT INTO shared_spec (json) VALUES (?1)")?.execute(params![json])?;
        let number = db.last_insert_rowid();
        self.share(number, spec.clone(), json);
        Ok(Column::Number(number.to_string().into()))
    }

    fn may_share(&self, spec: &JobSpec) -> bool {
        let of_tenant = self.of_tenants.get(&spec.tenant).copied().unwrap_or_default();
        let has_room = self.numbers.len() < MOST_SHARED && of_tenant < MOST_OF_TENANT;
        has_room && spec.held_bytes(0) == 0
    }

    /// The specification in the column `at` of a row.
    pub(super) fn read_column(&mut self, row: &Row<'_>, at: usize) -> Result<Arc<JobSpec>> {
        let column = row.get_ref(at)?.as_str()?;
        if let Some(spec) = self.shared.get(column).or_else(|| self.parsed.get(column)) {
            return Ok(spec.clone());
        }
        let failed = |error| Error::FromSqlConversionFailure(at, Type::Text, Box::new(error));
        let spec: Arc<JobSpec> = serde_json::from_str(column).map_err(failed)?;
        if column.len() <= MOST_BYTES {
            if self.parsed.len() >= REMEMBERED {
                self.parsed.clear();
            }
            self.parsed.insert(column.into(), spec.clone());
        }
        Ok(spec)
    }
}

/// Reads all jobs, which takes seconds where the history is long: it is done when a host is started that
/// shares as many specifications as it may. Only numbers are gathered in memory, not the JSON of other jobs.
fn remove_unused(db: &Connection) -> Result<()> {
    let sql = "DELETE FROM shared_spec WHERE CAST(number AS TEXT) NOT IN
                 (SELECT spec FROM job WHERE spec NOT LIKE '{%'
                  UNION SELECT spec FROM history WHERE spec NOT LIKE '{%')";
    db.execute(sql, []).map(drop)
}

#[cfg(test)]
mod tests;
