//! What jobs leave behind: counted, bounded, and trimmed when there is too much of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jobwright_core::attempt::Lease;
use jobwright_core::lifecycle::JobState;
use jobwright_core::report::Told;
use jobwright_core::store::Finish;

use super::{LATER, Ledger};
use crate::store::sqlite::table;

/// How much is written between two looks at how much there is.
const MEASURE_BYTES: u64 = 1 << 20;

/// What a job takes beside its payload and output: at least a page.
const JOB_BYTES: u64 = 4096;

/// Jobs that go at a time to make room: few, as they may be large.
const TRIM: usize = 8;

/// How often in a row: then as many go as may have come since the last look, some times over.
const TRIMS: usize = 128;

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
        for _ in 0..TRIMS {
            if table::used_bytes(&self.db)? <= most {
                break;
            }
            let gone = self.history.make_room(&self.db, TRIM)?;
            if gone.is_empty() {
                break;
            }
            self.trimmed.extend(gone);
        }
        Ok(())
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
        let mut told = told.clone();
        if let Some(displaced) = displaced {
            table::remove_checkpoints(&self.db, &displaced)?;
        } else {
            tracing::warn!(job = %id, "a checkpoint is not kept: there are too many, or too little disk");
            told.checkpoint = None;
        }
        if !told.is_empty()
            && let Some(lifecycle) = self.queue.forgive(lease)
        {
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
        let (length, most) =
            (output.bytes.len() as u64, self.capacity.limits().kept.checkpoint_bytes);
        if state != JobState::Completed && self.floor.is_reached() {
            return Ok(());
        }
        let tenant = self.queue.facts(id).map(|facts| &facts.tenant);
        let displaced = match tenant {
            Some(tenant) if !state.is_finalized() => {
                self.failed_outputs.admit(tenant, id, length, most)
            }
            _ => Some(vec![]),
        };
        if let Some(displaced) = displaced {
            displaced.into_iter().try_for_each(|id| table::remove_output(&self.db, id))?;
            return table::insert_output(&self.db, &end.lease, output);
        }
        tracing::warn!(job = %id, "what a failed attempt left is not kept: there is too much of it");
        Ok(())
    }
}
