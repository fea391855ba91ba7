//! Removes finalized jobs and keys whose retention has ended; and, to make room, the oldest
//! finalized jobs of the tenant with the largest history.

use super::history::ROW_BYTES;
use super::rows::{Bound, FinalizedRow, REMOVED_TOGETHER, Removable, Rows};
use super::state::Ledger;
use crate::job::JobId;
use crate::store::Retention;
use crate::tenant::TenantName;

/// The number of bytes that are written between two measurements.
const MEASURE_BYTES: u64 = 1 << 20;

/// The assumed size of a job without its payload and output until it is measured: a page.
const JOB_BYTES: u64 = 4096;

/// How many jobs are removed at a time at least: with fewer, measuring costs more than removing.
const LEAST_TOGETHER: usize = 8;

/// More are removed at a time while they take no more than this part of the tenant's history, so that a short one does
/// not lose most of it.
const PART_TOGETHER: u64 = 16;

/// And no more than this many bytes, as jobs may be large.
const BYTES_TOGETHER: u64 = 1 << 20;

/// How many jobs, and bytes of payloads and outputs, one command removes to make room: some ten
/// milliseconds for which other commands wait. What is left goes with the next that is written.
const MOST_TRIMMED: (usize, u64) = (512, 16 << 20);

/// How a trim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trimmed {
    /// There is enough room.
    Enough,
    /// There is no more to remove.
    Empty,
    /// One command has removed as much as it may.
    Exhausted,
}

impl<R: Rows> Ledger<R> {
    /// See [`JobStore::prune`](crate::store::JobStore::prune); returns also which jobs went, now and to
    /// make room since it was last called.
    ///
    /// # Errors
    /// As the rows.
    pub fn prune(
        &mut self,
        retention: &Retention,
        most: usize,
    ) -> Result<(usize, Vec<JobId>), R::Error> {
        self.keys = self.rows.remove_keys(retention.now, most)?;
        let expired = self.rows.removable(Removable::Expired(retention), most)?;
        self.remove(&expired)?;
        self.trim()?;
        Ok((expired.len(), self.history.take_removed()))
    }

    /// About how many bytes the finalized jobs take, which give way to new ones.
    #[must_use]
    pub fn history_bytes(&self) -> u64 {
        self.history.bytes()
    }

    /// Counts written bytes; at intervals it removes the oldest of the history if its bound is
    /// exceeded.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), R::Error> {
        self.history.grown_bytes += bytes + JOB_BYTES;
        if self.history.grown_bytes < MEASURE_BYTES { Ok(()) } else { self.trim() }
    }

    pub(super) fn trim(&mut self) -> Result<(), R::Error> {
        let grown = std::mem::take(&mut self.history.grown_bytes);
        let bound = Bound {
            history_bytes: self.capacity.limits().kept.history_bytes,
            counted_bytes: self.history.bytes(),
            // Unfinished jobs and reserved space have bounds of their own, and must not displace
            // the history.
            apart_bytes: self.capacity.held_bytes()
                + self.checkpoints.bytes()
                + self.failed_outputs.bytes()
                + self.keys.bytes(),
            grown_bytes: grown,
        };
        let is_enough = |ledger: &mut Self| {
            let counted_bytes = ledger.history.bytes();
            Ok(!ledger.rows.is_over(&Bound { counted_bytes, ..bound })?)
        };
        if self.trim_until(is_enough)? == Trimmed::Exhausted {
            self.history.grown_bytes = grown.max(MEASURE_BYTES);
        }
        Ok(())
    }

    /// Whether there is room for an output, for which the history gives way.
    pub(super) fn has_room(&mut self, bytes: u64) -> Result<bool, R::Error> {
        Ok(self.trim_until(|ledger| ledger.rows.has_room(bytes))? == Trimmed::Enough)
    }

    /// Removes the oldest of the history until there is enough room.
    fn trim_until(
        &mut self,
        is_enough: impl Fn(&mut Self) -> Result<bool, R::Error>,
    ) -> Result<Trimmed, R::Error> {
        let (mut jobs, mut bytes) = (0, 0);
        while !is_enough(self)? {
            if jobs >= MOST_TRIMMED.0 || bytes >= MOST_TRIMMED.1 {
                return Ok(Trimmed::Exhausted);
            }
            let Some(largest) = self.history.held.largest().cloned() else {
                return Ok(Trimmed::Empty);
            };
            let oldest = self.oldest(&largest)?;
            if oldest.is_empty() {
                // It holds less than was counted.
                self.history.remove(&largest, u64::MAX - ROW_BYTES);
                continue;
            }
            jobs += oldest.len();
            bytes += oldest.iter().map(|row| row.bytes).sum::<u64>();
            self.remove(&oldest)?;
        }
        Ok(Trimmed::Enough)
    }

    /// The jobs of a tenant that go next.
    fn oldest(&mut self, tenant: &TenantName) -> Result<Vec<FinalizedRow>, R::Error> {
        let mut oldest = self.rows.removable(Removable::Of(tenant), REMOVED_TOGETHER)?;
        let mut room = (self.history.held.of(tenant) / PART_TOGETHER).min(BYTES_TOGETHER);
        let fits = |row: &&FinalizedRow| {
            let rest = room.checked_sub(row.bytes + ROW_BYTES);
            room = rest.unwrap_or(0);
            rest.is_some()
        };
        let count = oldest.iter().take_while(fits).count();
        oldest.truncate(count.max(LEAST_TOGETHER));
        Ok(oldest)
    }

    /// Removes finalized jobs.
    pub(super) fn remove(&mut self, jobs: &[FinalizedRow]) -> Result<(), R::Error> {
        self.rows.remove(jobs)?;
        for job in jobs {
            self.history.remove(&job.tenant, job.bytes);
            self.pruned = self.pruned.max(job.position);
            self.history.removed.push(job.id);
        }
        Ok(())
    }
}
