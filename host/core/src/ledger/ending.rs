//! How attempts end: by a verdict, or because their host or their payload is lost.

use super::rows::{EndedAttempt, Kept, RowChange, Rows, Unreadable};
use super::state::Ledger;
use crate::attempt::{AttemptRecord, Lease};
use crate::change::Transition;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::JobState;
use crate::job::TimeBound;
use crate::job::Verdict;
use crate::outcome::{AttemptError, Outcome, Usage};
use crate::queue::Standing;
use crate::store::{Finish, Finished};

impl<R: Rows> Ledger<R> {
    /// See [`JobStore::finish`](crate::store::JobStore::finish). `json` is the [text](EndedAttempt::json) of the
    /// record.
    ///
    /// # Errors
    /// As the rows.
    pub fn finish(
        &mut self,
        end: &Finish,
        json: Option<&str>,
        now: Timestamp,
    ) -> Result<Finished, R::Error> {
        self.pass_time(now);
        let kept = end.kept();
        if !kept.is_empty() {
            self.queue.reset_losses(&end.lease);
        }
        let Some(standing) = self.queue.finish(&end.lease, end.verdict, now) else {
            return Ok(Finished::LeaseLost);
        };
        let (id, state) = (end.lease.job, standing.lifecycle.state);
        let output = self.output_of(end, &standing)?;
        let output_bytes = match output {
            Kept::Is(output) => output.bytes.len() as u64,
            Kept::Stays | Kept::Goes => 0,
        };
        let checkpoint = match state.is_finalized() {
            true => self.last_checkpoint(id),
            false => self.checkpoint_of(id, &standing, kept.checkpoint.as_ref())?,
        };
        let position = self.change(id, &standing, transition(&standing, Some(&end.record)));
        self.rows.write(&RowChange {
            ended: Some(EndedAttempt { record: &end.record, json }),
            progress: kept.progress.as_ref(),
            checkpoint,
            output,
            ..RowChange::new(standing.row, id, position, &standing.lifecycle)
        })?;
        if state.is_finalized() {
            self.finalized(id, &standing, output);
        }
        self.grow(output_bytes)?;
        Ok(Finished::Recorded(state))
    }

    /// Discards a job that was just claimed and whose payload is lost: it alone can never run, and the
    /// others go on.
    pub(super) fn give_up(
        &mut self,
        lease: &Lease,
        unreadable: &Unreadable,
        now: Timestamp,
    ) -> Result<(), R::Error> {
        let id = lease.job;
        let Some(running) = self.queue.lifecycle(id).cloned() else { return Ok(()) };
        let message = format!(
            "the payload cannot be read from the job store: {}; submit the job again, and check \
             the disk",
            unreadable.0
        );
        let error = AttemptError::new("payload_lost", message);
        let outcome = Outcome::Refused { error, transient: false };
        let record = AttemptRecord::new(&running, &outcome, Usage::default(), now);
        match self.queue.finish(lease, Verdict::Discard, now) {
            Some(standing) => self.moved(id, &standing, Some(&record)),
            None => Ok(()),
        }
    }

    /// See [`JobStore::reclaim_expired`](crate::store::JobStore::reclaim_expired).
    ///
    /// # Errors
    /// As the rows.
    pub fn reclaim_expired(&mut self, now: Timestamp, most: usize) -> Result<Vec<JobId>, R::Error> {
        self.pass_time(now);
        let expired = self.queue.expired(now, most);
        for id in &expired {
            let Some(running) = self.queue.lifecycle(*id).cloned() else { continue };
            if let Some(standing) = self.queue.reclaim(*id, now) {
                let lost = AttemptRecord::new(&running, &Outcome::Lost, Usage::default(), now);
                self.moved(*id, &standing, Some(&lost))?;
            }
        }
        Ok(expired)
    }

    /// Ends at most `most` waiting jobs whose time to live or deadline is over.
    pub(super) fn expire(&mut self, most: usize) -> Result<(), R::Error> {
        // The time to live of some of them begins only now.
        self.write_fallen_due()?;
        let over = self.queue.over(most);
        for id in over {
            if let Some(standing) = self.queue.expire(id, self.now) {
                self.moved(id, &standing, None)?;
            }
        }
        Ok(())
    }

    /// Writes where a job stands after a transition, and the attempt that ended with it.
    pub(super) fn moved(
        &mut self,
        id: JobId,
        standing: &Standing,
        ended: Option<&AttemptRecord>,
    ) -> Result<(), R::Error> {
        let state = standing.lifecycle.state;
        let transition = transition(standing, ended);
        let position = self.change(id, standing, transition);
        let checkpoint = if state.is_finalized() { self.last_checkpoint(id) } else { Kept::Stays };
        let change = RowChange::new(standing.row, id, position, &standing.lifecycle);
        let ended = ended.map(|record| EndedAttempt { record, json: None });
        self.rows.write(&RowChange { ended, checkpoint, ..change })?;
        if state.is_finalized() {
            self.finalized(id, standing, Kept::Stays);
        }
        Ok(())
    }
}

/// The error of a job that ended because its time was over.
fn overrun(bound: TimeBound) -> AttemptError {
    match bound {
        TimeBound::Ttl => {
            AttemptError::new("ttl", "no attempt began within the job's time to live")
        }
        TimeBound::Deadline => AttemptError::new("deadline", "the job's deadline has passed"),
    }
}

/// The transition that brought a job where it stands, with the attempt that ended by it.
fn transition(standing: &Standing, ended: Option<&AttemptRecord>) -> Transition {
    let state = standing.lifecycle.state;
    match state {
        JobState::Available => Transition::Waiting,
        // Nothing else changes about a job that goes on running.
        JobState::Running => Transition::CancelRequested,
        JobState::Completed => Transition::Finalized { state, error: None },
        JobState::Discarded | JobState::Cancelled | JobState::Expired => {
            let overrun = || standing.lifecycle.ended_by().map(overrun);
            let error = ended.map_or_else(overrun, |record| record.error.clone());
            Transition::Finalized { state, error }
        }
    }
}
