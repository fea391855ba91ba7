//! What jobs leave behind: counted, bounded, and trimmed when there is too much of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jobwright_core::attempt::Lease;
use jobwright_core::job::{Job, JobId};
use jobwright_core::lifecycle::JobState;
use jobwright_core::report::Told;
use jobwright_core::store::Finish;
use jobwright_core::tenant::TenantName;
use rusqlite::Connection;

use super::{LATER, Ledger};
use crate::clock::Stopwatch;
use crate::store::sqlite::table;

/// How much is written between two looks at how much there is.
const MEASURE_BYTES: u64 = 1 << 20;

/// What a job takes beside its payload and output: at least a page.
const JOB_BYTES: u64 = 4096;

/// Jobs that go at a time to make room: few, as they may be large.
const TRIM: usize = 8;

/// How long room is made at a time: commands wait for it. What is left goes with the next that is written.
const TRIMMING: Duration = Duration::from_millis(50);

/// What an output takes of the file beside its bytes, at most: pages that are not full.
const OUTPUT_PAGES_BYTES: u64 = 64 << 10;

impl Ledger {
    /// Counts what is written; now and then removes the oldest of the history if there is too much.
    pub(super) fn grow(&mut self, bytes: u64) -> rusqlite::Result<()> {
        self.grown_bytes += bytes + JOB_BYTES;
        if self.grown_bytes < MEASURE_BYTES { Ok(()) } else { self.trim() }
    }

    pub(super) fn trim(&mut self) -> rusqlite::Result<()> {
        let grown = std::mem::take(&mut self.grown_bytes);
        // What waits and what is promised is bounded apart, and must not cost the history its place.
        let apart = self.capacity.held_bytes()
            + self.checkpoints.bytes()
            + self.failed_outputs.bytes()
            + self.keys.bytes();
        let mut most = self.capacity.limits().kept.history_bytes.saturating_add(apart);
        self.is_low = self.floor.free_bytes() / LATER < self.floor.least_bytes();
        if self.floor.is_reached() {
            // In the file there is then room for as much again as has come: it need not grow.
            most = most.min(table::file_bytes(&self.db)?.saturating_sub(grown));
        }
        let done = self.trim_until(|db| Ok(table::used_bytes(db)? <= most))?;
        if done.is_none() {
            self.grown_bytes = grown.max(MEASURE_BYTES);
        }
        Ok(())
    }

    /// Removes the oldest of the history until there is enough room; says whether there is, or nothing if
    /// that takes too long.
    fn trim_until(
        &mut self,
        is_enough: impl Fn(&Connection) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<Option<bool>> {
        let since = Stopwatch::start();
        while !is_enough(&self.db)? {
            if since.elapsed() >= TRIMMING {
                return Ok(None);
            }
            let gone = self.history.make_room(&self.db, TRIM)?;
            if gone.is_empty() {
                return Ok(Some(false));
            }
            self.trimmed.extend(gone);
        }
        Ok(Some(true))
    }

    pub(super) fn measure_spare(&self) -> rusqlite::Result<()> {
        let spare = table::free_bytes(&self.db)?.saturating_add(self.history.bytes());
        self.spare.store(spare, Ordering::Relaxed);
        Ok(())
    }

    /// What the store can use again before its file grows, as of the latest commit.
    pub(in crate::store::sqlite) fn spare(&self) -> Arc<AtomicU64> {
        self.spare.clone()
    }

    /// Keeps what the attempt that holds the lease told.
    pub(super) fn keep_told(&mut self, lease: &Lease, told: &Told) -> rusqlite::Result<()> {
        let id = lease.job;
        let most = self.capacity.limits().kept.checkpoint_bytes;
        let floor = &self.floor;
        let tenant = self.queue.facts(id).map(|facts| &facts.tenant);
        let admit = |state: &Bytes| {
            let (tenant, length) = (tenant.filter(|_| !floor.is_reached())?, state.len() as u64);
            self.checkpoints.admit(tenant, id, length, most)
        };
        let displaced = told.checkpoint.as_ref().map_or_else(|| Some(vec![]), admit);
        // The attempt got further, whether or not there is room for what it saved.
        let got_further = !told.is_empty();
        let mut told = told.clone();
        if let Some(displaced) = displaced {
            table::remove_checkpoints(&self.db, &displaced)?;
        } else {
            tracing::warn!(job = %id, "a checkpoint is not kept: there are too many, or too little disk");
            told.checkpoint = None;
        }
        if got_further && let Some(lifecycle) = self.queue.forgive(lease) {
            table::update(&self.db, id, &lifecycle)?;
        }
        table::keep_told(&self.db, id, &told)
    }

    /// Keeps what an attempt left that leads to `state`.
    pub(super) fn keep_output(&mut self, end: &Finish, state: JobState) -> rusqlite::Result<()> {
        let id = end.lease.job;
        let Some(output) = &end.output else {
            // What failed is not what a success left.
            return match state == JobState::Completed {
                true => table::remove_output(&self.db, id),
                false => Ok(()),
            };
        };
        let length = output.bytes.len() as u64;
        let has_room = self.has_room_for(length)?;
        if state != JobState::Completed && !has_room {
            tracing::warn!(job = %id, "what a failed attempt left is not kept: there is too little disk");
            return Ok(());
        }
        let tenant = self.queue.facts(id).map(|facts| facts.tenant.clone());
        let fits = match tenant {
            Some(tenant) if !state.is_finalized() => self.admit_output(&tenant, id, length)?,
            _ => true,
        };
        if fits { table::insert_output(&self.db, &end.lease, output) } else { Ok(()) }
    }

    /// Keeps what an earlier attempt at a job left that was over and is not any more, unless that
    /// completed it.
    pub(super) fn keep_earlier_output(
        &mut self,
        job: &Job,
        has_completed: bool,
    ) -> rusqlite::Result<()> {
        let Some(output) = &job.output else { return Ok(()) };
        let tenant = &job.spec.tenant;
        match !has_completed && self.admit_output(tenant, job.id, output.bytes)? {
            true => Ok(()),
            false => table::remove_output(&self.db, job.id),
        }
    }

    /// Counts what a failed attempt at an unfinished job left; says whether it is to be kept.
    fn admit_output(
        &mut self,
        tenant: &TenantName,
        id: JobId,
        length: u64,
    ) -> rusqlite::Result<bool> {
        let most = self.capacity.limits().kept.checkpoint_bytes;
        let Some(displaced) = self.failed_outputs.admit(tenant, id, length, most) else {
            tracing::warn!(job = %id, "what a failed attempt left is not kept: there is too much of it");
            return Ok(false);
        };
        displaced.into_iter().try_for_each(|id| table::remove_output(&self.db, id))?;
        Ok(true)
    }

    /// Whether there is room for an output: on a disk that is short of space only where the file need not
    /// grow, for which the history gives way.
    fn has_room_for(&mut self, length: u64) -> rusqlite::Result<bool> {
        if !self.floor.is_reached() {
            return Ok(true);
        }
        let needed = length + OUTPUT_PAGES_BYTES;
        Ok(self.trim_until(|db| Ok(table::free_bytes(db)? >= needed))? == Some(true))
    }
}

#[cfg(test)]
mod tests;
