//! The ledger on the tables of `jobs.db`, as the writer's thread has it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use anyhow::Context as _;
use jobwright_core::capacity::Capacity;
use jobwright_core::change::ChangeStream;
use jobwright_core::clock::Timestamp;
use jobwright_core::ledger::Ledger;
use rusqlite::{Connection, Result};

use super::table::Tables;
use super::{queries, schema};
use crate::disk::Floor;
use crate::sqlite::checkpoints::Checkpoints;
use crate::sqlite::wal::{self, Damage};
use crate::sqlite::writer::{State, Then};
use crate::sqlite::{pages, vacuum};
use crate::telemetry;

/// See the documentation of the module.
#[derive(Debug)]
pub(super) struct WriterState {
    pub(super) ledger: Ledger<Tables>,
    checkpoints: Checkpoints,
    changes: Arc<ChangeStream>,
    /// The space that can be reused before the file grows; readers read it without the writer.
    spare: Arc<AtomicU64>,
}

/// Opens or creates the database, and returns unused pages to the disk.
fn open_database(path: &Path, disk: &Floor) -> anyhow::Result<Connection> {
    if let Some(Damage { commits, copy }) = wal::set_aside_if_damaged(path)? {
        tracing::error!(
            path = %path.display(),
            copy = %copy.display(),
            commits,
            "the write-ahead log is damaged, and the commits after the damage are lost. After a \
             power loss these were not acknowledged yet; otherwise accepted jobs are missing, \
             and their readable parts are in the copy"
        );
    }
    let db = schema::open_jobs(path)?;
    if let Err(error) = vacuum::vacuum(&db, disk) {
        tracing::warn!(%error, "cannot return free pages of the job store to the disk");
    }
    Ok(db)
}

impl WriterState {
    /// Opens or creates the database, rebuilds the ledger from its rows and reclaims running jobs.
    pub(super) fn open(
        path: &Path,
        capacity: Arc<Capacity>,
        changes: Arc<ChangeStream>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let floor = Tables::floor(path, capacity.limits().kept.free_bytes);
        let mut db = open_database(path, &floor)?;
        let checkpoints = Checkpoints::start(path, &mut db)?;
        let ledger = Ledger::new(Tables::new(db, floor), capacity, now);
        let mut state = Self { ledger, checkpoints, changes, spare: Arc::default() };
        let reclaimed = state
            .take_over()
            .with_context(|| format!("cannot read or write the job store {}", path.display()))?;
        let unfinished = state.ledger.unfinished();
        tracing::info!(unfinished, reclaimed, "opened the job store");
        Ok(state)
    }

    /// Loads what the host that used the store before has left; returns how many jobs were running.
    fn take_over(&mut self) -> Result<usize> {
        let before = queries::host(self.connection())?;
        self.connection().execute_batch("BEGIN IMMEDIATE")?;
        let reclaimed = self.ledger.open(&before)?;
        self.connection().execute_batch("COMMIT")?;
        self.measure_spare()?;
        // There are no subscribers yet.
        telemetry::log_discarded(&self.ledger.take_changes());
        Ok(reclaimed)
    }

    fn measure_spare(&self) -> Result<()> {
        let free = pages::free_bytes(self.connection())?;
        self.spare.store(free.saturating_add(self.ledger.history_bytes()), Ordering::Relaxed);
        Ok(())
    }

    /// The space that the store can reuse before its file grows, as of the latest commit.
    pub(super) fn spare(&self) -> Arc<AtomicU64> {
        self.spare.clone()
    }
}

impl State for WriterState {
    fn connection(&self) -> &Connection {
        self.ledger.rows().db()
    }

    fn seal(&mut self) -> Result<()> {
        self.measure_spare()?;
        self.ledger.seal()
    }

    fn committed(&mut self) -> Then {
        self.checkpoints.committed();
        let (stream, changes) = (self.changes.clone(), self.ledger.take_changes());
        stream.tell(&changes);
        Box::new(move || stream.publish(changes))
    }

    fn between_groups(&mut self) {
        self.checkpoints.restart_long_log(self.connection());
    }

    fn pause_checkpoints(&self) -> Option<MutexGuard<'_, ()>> {
        Some(self.checkpoints.pause())
    }

    fn closing(&mut self) {
        self.checkpoints.stop();
    }

    fn has_chore(&self) -> bool {
        self.ledger.is_sweeping()
    }

    fn chore(&mut self) {
        self.ledger.sweep();
    }

    fn reload(&mut self) -> Result<()> {
        self.ledger.reload()
    }

    fn is_disk_low(&mut self) -> bool {
        self.ledger.rows_mut().take_is_low()
    }
}

#[cfg(test)]
mod tests;
