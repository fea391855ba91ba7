//! The rows of the embedded store: the tables of `jobs.db`, and the statements on them. Each expects to be
//! inside the writer's transaction; none decides anything about a job.
//!
//! | module | owns |
//! |---|---|
//! | [`unfinished`] | the table `job` |
//! | [`finalized`] | the table `history` |
//! | [`keys`] | the table `dedup` |
//! | [`settings`] | holds, tenants, the record of the host |
//! | [`specs`] | the specifications of jobs, and the table `shared_spec` |
//! | [`holders`] | the hosts that hold leases, in the table `host` |
//! | [`fresh`] | jobs that were accepted just now, in memory |

mod finalized;
mod fresh;
mod holders;
mod keys;
mod settings;
mod specs;
mod unfinished;

use std::cell::Cell;

use jobwright_core::attempt::Lease;
use jobwright_core::capacity::HeldKeys;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::job::{Dedup, Job, JobId, Lifecycle, NewJob, UsedKey};
use jobwright_core::ledger::{
    Bound, Commit, DurableRows, FinalizedRow, Found, FoundJob, HostRow, Kept, Place, Removable,
    RowChange, Rows, Unreadable,
};
use jobwright_core::store::{Leased, StoreError};
use jobwright_core::tenant::{TenantLimits, TenantName};
use rusqlite::{Connection, Error, Result};

use self::finalized::Cursors;
use self::fresh::Fresh;
use self::holders::Holders;
use self::specs::Specs;
use self::unfinished::NewRow;
use super::queries;
use crate::disk::Floor;
use crate::sqlite::pages;
use crate::sqlite::readers::store_error;

/// The part of the floor at which finished jobs and checkpoints give way. Logs and compiled code, which
/// are missed less, give way at all of it.
const LATER: u64 = 2;

/// See the module's text.
#[derive(Debug)]
pub struct Tables {
    db: Connection,
    disk: Disk,
    /// Whether the disk was below all of the floor when it was last looked at.
    is_low: bool,
    fresh: Fresh,
    specs: Specs,
    cursors: Cursors,
    holders: Holders,
}

/// The free space of the disk, which is read at most once for each commit: a system call for each job would
/// cost about as much as its row.
#[derive(Debug)]
struct Disk {
    floor: Floor,
    free_bytes: Cell<Option<u64>>,
}

impl Disk {
    fn free_bytes(&self) -> u64 {
        let free_bytes = self.free_bytes.get().unwrap_or_else(|| self.floor.free_bytes());
        self.free_bytes.set(Some(free_bytes));
        free_bytes
    }

    /// Whether less is free than the floor.
    fn is_low(&self) -> bool {
        self.floor.least_bytes() > 0 && self.free_bytes() < self.floor.least_bytes()
    }
}

impl Tables {
    /// The tables of an open database, on a disk of which `free_bytes` are to stay free.
    pub(super) fn new(db: Connection, floor: Floor) -> Self {
        let (fresh, specs, cursors) = <(Fresh, Specs, Cursors)>::default();
        let disk = Disk { floor, free_bytes: Cell::new(None) };
        Self { db, disk, is_low: false, fresh, specs, cursors, holders: Holders::default() }
    }

    /// The floor of the disk under `path` for the store of jobs.
    pub(super) fn floor(path: &std::path::Path, free_bytes: u64) -> Floor {
        Floor::new(path, free_bytes / LATER)
    }

    #[cfg(test)]
    pub(super) fn floor_mut(&mut self) -> &mut Floor {
        self.disk.free_bytes.set(None);
        &mut self.disk.floor
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    fn update(&mut self, change: &RowChange<'_>) -> Result<()> {
        let host = change.lifecycle.host;
        let held_by = host.map(|host| self.holders.number(&self.db, host)).transpose()?;
        unfinished::update(&self.db, change, held_by)
    }

    /// Whether the disk was low since this was last asked.
    pub(super) fn take_is_low(&mut self) -> bool {
        std::mem::take(&mut self.is_low)
    }
}

/// Whether what should be there is not, or is not what was written.
fn unreadable(error: Error) -> Result<Unreadable> {
    match error {
        Error::QueryReturnedNoRows => Ok(Unreadable(error.to_string())),
        error if matches!(store_error(&error), StoreError::Corrupt { .. }) => {
            Ok(Unreadable(error.to_string()))
        }
        error => Err(error),
    }
}

impl Rows for Tables {
    type Error = Error;

    fn insert(&mut self, at: Place, mut job: NewJob, lifecycle: &Lifecycle) -> Result<()> {
        let column = self.specs.column(&self.db, &mut job.spec)?;
        unfinished::insert(&self.db, &NewRow { at, job: &job, spec: column.text(), lifecycle })?;
        // Others may wait for a long time.
        if lifecycle.scheduled_at <= at.now {
            self.fresh.insert(at, job, column.is_shared());
        }
        Ok(())
    }

    fn write(&mut self, change: &RowChange<'_>) -> Result<()> {
        if matches!(change.checkpoint, Kept::Goes) {
            unfinished::remove_checkpoint(&self.db, change.row)?;
        }
        if let Kept::Is(checkpoint) = change.checkpoint {
            unfinished::set_checkpoint(&self.db, change.row, checkpoint)?;
        }
        if change.lifecycle.state.is_finalized() {
            self.fresh.take(change.row);
            return finalized::finalize(&self.db, change);
        }
        self.update(change)
    }

    fn revive(&mut self, at: Place, id: JobId, lifecycle: &Lifecycle) -> Result<()> {
        finalized::revive(&self.db, at, id)?;
        self.update(&RowChange::new(at.row, id, at.position, lifecycle))
    }

    fn leased(
        &mut self,
        row: u64,
        lease: Lease,
    ) -> Result<std::result::Result<Leased, Unreadable>> {
        if let Some(leased) = self.fresh.take(row).filter(|_| lease.attempt == 1) {
            return Ok(Ok(leased.under(lease)));
        }
        match unfinished::leased(&self.db, row, lease, &mut self.specs) {
            Ok(leased) => Ok(Ok(leased)),
            Err(error) => unreadable(error).map(Err),
        }
    }

    fn job(&self, id: JobId) -> Result<Option<(Job, u64)>> {
        queries::job_and_payload_bytes(&self.db, id)
    }

    fn removable(&mut self, which: Removable<'_>, most: usize) -> Result<Vec<FinalizedRow>> {
        match which {
            Removable::Expired(retention) => self.cursors.expired(&self.db, retention, most),
            Removable::Of(tenant) => self.cursors.oldest(&self.db, tenant, most),
        }
    }

    fn remove(&mut self, jobs: &[FinalizedRow]) -> Result<()> {
        finalized::remove(&self.db, jobs)
    }

    fn is_over(&mut self, bound: &Bound) -> Result<bool> {
        let mut most = bound.history_bytes.saturating_add(bound.apart_bytes);
        self.is_low = self.disk.free_bytes() / LATER < self.disk.floor.least_bytes();
        if self.disk.is_low() {
            // The file then has free pages for as many bytes again, so it need not grow.
            let file_bytes = pages::file_bytes(&self.db)?;
            most = most.min(file_bytes.saturating_sub(bound.grown_bytes));
        }
        Ok(pages::used_bytes(&self.db)? > most)
    }

    fn has_room(&mut self, bytes: u64) -> Result<bool> {
        Ok(!self.disk.is_low() || pages::has_room(&self.db, bytes)?)
    }

    fn keeps_checkpoints(&self) -> bool {
        !self.disk.is_low()
    }

    fn used_key(&self, tenant: &TenantName, dedup: &Dedup) -> Result<Option<UsedKey>> {
        queries::key(&self.db, tenant, dedup)
    }

    fn use_key(&mut self, used: &UsedKey) -> Result<()> {
        keys::insert(&self.db, used)
    }

    fn remove_keys(&mut self, now: Timestamp, most: usize) -> Result<HeldKeys> {
        keys::remove(&self.db, now, most)?;
        keys::held(&self.db)
    }

    fn set_hold(&mut self, hold: &Hold, note: Option<&HoldNote>) -> Result<()> {
        settings::set_hold(&self.db, hold, note)
    }

    fn set_tenant(&mut self, name: &TenantName, limits: TenantLimits) -> Result<()> {
        settings::set_tenant(&self.db, name, &limits)
    }
}

impl DurableRows for Tables {
    fn load(&mut self, each: &mut dyn FnMut(FoundJob)) -> Result<Found> {
        self.disk.free_bytes.set(None);
        (self.fresh, self.cursors) = (Fresh::default(), Cursors::default());
        self.specs = Specs::load(&self.db)?;
        unfinished::for_each(&self.db, &mut self.specs, each)?;
        let holders = self.holders.load(&self.db)?;
        settings::found(&self.db, holders)
    }

    fn take_over_times(&mut self, before: &HostRow, now: Timestamp) -> Result<()> {
        unfinished::take_over_times(&self.db, before, now)
    }

    fn seal(&mut self, commit: &Commit) -> Result<()> {
        self.disk.free_bytes.set(None);
        settings::set_shares(&self.db, &commit.shares)?;
        self.holders.update(&self.db, &commit.holders)?;
        settings::set_host(&self.db, &commit.host)
    }

    fn forget_holders(&mut self) -> Result<()> {
        self.holders.remove(&self.db)
    }
}
