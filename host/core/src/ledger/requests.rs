//! Requests of clients for accepted jobs: cancel and redrive.

use super::rows::{Place, Rows};
use super::state::Ledger;
use crate::capacity::Side;
use crate::change::Transition;
use crate::clock::Timestamp;
use crate::hold::Hold;
use crate::job::{CancelRequest, JobId, Redrive};
use crate::queue::Entry;
use crate::store::Redriven;

impl<R: Rows> Ledger<R> {
    /// See [`JobStore::request_cancel`](crate::store::JobStore::request_cancel).
    ///
    /// # Errors
    /// As the rows.
    pub fn request_cancel(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> Result<Option<CancelRequest>, R::Error> {
        self.pass_time(now);
        let Some((answer, standing)) = self.queue.request_cancel(id, now) else {
            let found = self.rows.job(id)?;
            return Ok(found.map(|(mut job, _)| job.lifecycle.request_cancel(now)));
        };
        self.moved(id, &standing, None)?;
        Ok(Some(answer))
    }

    /// See [`JobStore::cancel_covered`](crate::store::JobStore::cancel_covered).
    ///
    /// # Errors
    /// As the rows.
    pub fn cancel_covered(
        &mut self,
        hold: &Hold,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<(JobId, CancelRequest)>, R::Error> {
        let covered = self.queue.covered(hold, most).into_iter();
        let cancel = |id| Ok(self.request_cancel(id, now)?.map(|answer| (id, answer)));
        covered.map(cancel).filter_map(Result::transpose).collect()
    }

    /// See [`JobStore::redrive`](crate::store::JobStore::redrive).
    ///
    /// # Errors
    /// As the rows.
    pub fn redrive(&mut self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, R::Error> {
        self.pass_time(now);
        let Some((answer, standing)) = self.queue.redrive(id, now) else {
            return self.revive(id, now);
        };
        match answer {
            Redrive::Running => Ok(Some(Redriven::Running)),
            Redrive::Due => {
                self.moved(id, &standing, None)?;
                Ok(Some(Redriven::Due))
            }
        }
    }

    /// Makes a finalized job due again.
    fn revive(&mut self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, R::Error> {
        let Some((mut job, payload_bytes)) = self.rows.job(id)? else { return Ok(None) };
        let held_bytes = job.spec.held_bytes(payload_bytes);
        let permit = match self.capacity.reserve(&(&*job.spec).into(), held_bytes, Side::Due) {
            Ok(permit) => permit,
            Err(full) => return Ok(Some(Redriven::QueueFull(full))),
        };
        let output_bytes = job.output.as_ref().map_or(0, |output| output.bytes);
        self.history.remove(&job.spec.tenant, payload_bytes + output_bytes);
        let has_completed = job.has_completed();
        job.lifecycle.redrive(now);
        let entry = Entry {
            priority: job.spec.priority,
            memory_bytes: job.spec.limits.host_bytes(),
            payload_bytes,
            lifecycle: job.lifecycle.clone(),
            row: self.next_row(),
            permit,
        };
        let standing = entry.standing();
        let position = self.change(id, &standing, Transition::Waiting);
        self.rows.revive(Place { row: entry.row, position, now }, id, &entry.lifecycle)?;
        self.queue.insert(id, entry, now);
        self.keep_earlier_output(&job, &standing, has_completed)?;
        Ok(Some(Redriven::Due))
    }
}
