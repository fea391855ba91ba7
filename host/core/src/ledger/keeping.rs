//! Checkpoints, and the outputs of failed attempts at unfinished jobs.

use bytes::Bytes;

use super::rows::{Kept, RowChange, Rows};
use super::state::Ledger;
use crate::attempt::Lease;
use crate::job::JobState;
use crate::job::{Job, JobId};
use crate::outcome::Output;
use crate::queue::Standing;
use crate::report::ProgressUpdate;
use crate::store::Finish;

impl<R: Rows> Ledger<R> {
    /// See [`AttemptTraces::save_progress`](crate::store::AttemptTraces::save_progress).
    ///
    /// # Errors
    /// As the rows.
    pub fn save_progress(&mut self, lease: &Lease, told: &ProgressUpdate) -> Result<(), R::Error> {
        if told.is_empty() || !self.queue.holds_lease(lease) {
            return Ok(());
        }
        // The attempt made progress, even if there is no room for its checkpoint.
        self.queue.reset_losses(lease);
        let Some(standing) = self.queue.standing(lease.job) else { return Ok(()) };
        let checkpoint = self.checkpoint_of(lease.job, &standing, told.checkpoint.as_ref())?;
        self.rows.write(&RowChange {
            progress: told.progress.as_ref(),
            checkpoint,
            ..RowChange::new(standing.row, lease.job, self.position, &standing.lifecycle)
        })
    }

    /// The change of the checkpoint of an unfinished job whose attempt saved `saved`.
    pub(super) fn checkpoint_of<'a>(
        &mut self,
        id: JobId,
        standing: &Standing,
        saved: Option<&'a Bytes>,
    ) -> Result<Kept<&'a Bytes>, R::Error> {
        let Some(saved) = saved else { return Ok(Kept::Stays) };
        if !self.rows.keeps_checkpoints() {
            return Ok(Kept::Stays);
        }
        let (tenant, most) =
            (&standing.labels.tenant, self.capacity.limits().kept.checkpoint_bytes);
        let length = saved.len() as u64;
        let Some(displaced) = self.checkpoints.admit(tenant, id, length, most) else {
            return Ok(Kept::Stays);
        };
        for id in displaced {
            self.rewrite(id, |change| change.checkpoint = Kept::Goes)?;
        }
        Ok(Kept::Is(saved))
    }

    /// The change of the checkpoint of a finalized job.
    pub(super) fn last_checkpoint<'a>(&self, id: JobId) -> Kept<&'a Bytes> {
        if self.checkpoints.has(id) { Kept::Goes } else { Kept::Stays }
    }

    /// The change of the output of a job whose attempt ended as `end`.
    pub(super) fn output_of<'a>(
        &mut self,
        end: &'a Finish,
        standing: &Standing,
    ) -> Result<Kept<&'a Output>, R::Error> {
        let (id, state) = (end.lease.job, standing.lifecycle.state);
        let has_completed = state == JobState::Completed;
        let Some(output) = &end.output else {
            // The output of a failure replaces no output of a success.
            let goes = has_completed && self.failed_outputs.has(id);
            return Ok(if goes { Kept::Goes } else { Kept::Stays });
        };
        let length = output.bytes.len() as u64;
        let has_room = self.has_room(length)?;
        let fits = has_completed
            || has_room && (state.is_finalized() || self.admit_output(id, standing, length)?);
        Ok(if fits { Kept::Is(output) } else { Kept::Stays })
    }

    /// Keeps the output of an earlier attempt when a finalized job runs again, unless it is the
    /// output of a success.
    pub(super) fn keep_earlier_output(
        &mut self,
        job: &Job,
        standing: &Standing,
        has_completed: bool,
    ) -> Result<(), R::Error> {
        let Some(output) = &job.output else { return Ok(()) };
        if !has_completed && self.admit_output(job.id, standing, output.bytes)? {
            return Ok(());
        }
        self.rewrite(job.id, |change| change.output = Kept::Goes)
    }

    /// Counts what a failed attempt at an unfinished job left; returns whether it is to be kept.
    fn admit_output(
        &mut self,
        id: JobId,
        standing: &Standing,
        length: u64,
    ) -> Result<bool, R::Error> {
        let (tenant, most) =
            (&standing.labels.tenant, self.capacity.limits().kept.checkpoint_bytes);
        let Some(displaced) = self.failed_outputs.admit(tenant, id, length, most) else {
            return Ok(false);
        };
        for id in displaced {
            self.rewrite(id, |change| change.output = Kept::Goes)?;
        }
        Ok(true)
    }

    /// Changes the stored data of an unfinished job, and not its state.
    fn rewrite(
        &mut self,
        id: JobId,
        step: impl FnOnce(&mut RowChange<'_>),
    ) -> Result<(), R::Error> {
        let Some(standing) = self.queue.standing(id) else { return Ok(()) };
        let mut change = RowChange::new(standing.row, id, self.position, &standing.lifecycle);
        step(&mut change);
        self.rows.write(&change)
    }

    /// A job is finalized, with this output of its last attempt: its bytes count as history now.
    pub(super) fn finalized(&mut self, id: JobId, standing: &Standing, output: Kept<&Output>) {
        self.checkpoints.forget(id);
        let earlier = self.failed_outputs.forget(id);
        let output_bytes = match output {
            Kept::Is(output) => output.bytes.len() as u64,
            Kept::Goes => 0,
            Kept::Stays => earlier,
        };
        self.history.add(&standing.labels.tenant, standing.payload_bytes + output_bytes);
    }
}
