//! The state of a ledger in memory, and the recording of changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::history::History;
use super::rows::{RowChange, Rows};
use crate::capacity::{Capacity, Checkpoints, HeldKeys};
use crate::change::{Change, Event, JobEvent, Position, Transition};
use crate::clock::Timestamp;
use crate::hold::{Hold, HoldNote};
use crate::job::JobId;
use crate::queue::{Queue, Standing};

/// See [the module](super).
#[derive(Debug)]
pub struct Ledger<R> {
    pub(super) rows: R,
    pub(super) queue: Queue,
    pub(super) capacity: Arc<Capacity>,
    /// The latest time that a command brought.
    pub(super) now: Timestamp,
    pub(super) holds: BTreeMap<Hold, HoldNote>,
    /// The size of the keys in use.
    pub(super) keys: HeldKeys,
    pub(super) checkpoints: Checkpoints,
    /// The outputs of failed attempts at unfinished jobs, which are counted like checkpoints.
    pub(super) failed_outputs: Checkpoints,
    pub(super) history: History,
    /// The row number of the latest job that arrived.
    pub(super) last_row: u64,
    pub(super) position: Position,
    /// The highest position among the jobs that were removed.
    pub(super) pruned: Position,
    /// Changes that are not published yet.
    pub(super) changes: Vec<Change>,
}

impl<R: Rows> Ledger<R> {
    /// A ledger of no jobs.
    #[must_use]
    pub fn new(rows: R, capacity: Arc<Capacity>, now: Timestamp) -> Self {
        let queue = Queue::new(capacity.limits().head_start, now);
        Self {
            rows,
            queue,
            capacity,
            now,
            holds: BTreeMap::new(),
            keys: HeldKeys::default(),
            checkpoints: Checkpoints::default(),
            failed_outputs: Checkpoints::default(),
            history: History::default(),
            last_row: 0,
            position: Position::default(),
            pruned: Position::default(),
            changes: vec![],
        }
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &R {
        &self.rows
    }

    /// The rows, for access that does not concern the ledger.
    pub fn rows_mut(&mut self) -> &mut R {
        &mut self.rows
    }

    /// The position of the latest change.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The highest position among the jobs that were removed. A subscriber that saw no later change may
    /// have missed how one of them ended.
    #[must_use]
    pub fn pruned(&self) -> Position {
        self.pruned
    }

    /// How many unfinished jobs there are.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.queue.len()
    }

    /// The changes since this was last called, in order. Publish them after the commit.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Brings the present time.
    pub fn pass_time(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.queue.pass_time(now);
    }

    /// A queue for tests that hold a durable store against one in memory: it forgets what the queue of a
    /// host that is started again does not know.
    pub fn restart(&mut self) -> Result<(), R::Error> {
        self.queue.restart();
        for id in self.queue.ids() {
            let Some(standing) = self.queue.standing(id) else { continue };
            let (row, lifecycle) = (standing.row, &standing.lifecycle);
            self.rows.write(&RowChange::new(row, id, self.position, lifecycle))?;
        }
        Ok(())
    }

    pub(super) fn next_row(&mut self) -> u64 {
        self.last_row += 1;
        self.last_row
    }

    /// Records a transition of a job; returns the position of the change.
    pub(super) fn change(
        &mut self,
        job: JobId,
        standing: &Standing,
        transition: Transition,
    ) -> Position {
        let (labels, attempt) = (standing.labels.clone(), standing.lifecycle.attempt);
        self.note(Event::Job(JobEvent { job, labels, attempt, transition }))
    }

    /// Notes a change; returns its position.
    pub(super) fn note(&mut self, event: Event) -> Position {
        self.position = self.position.next();
        self.changes.push(Change { position: self.position, at: self.now, event });
        self.position
    }
}
