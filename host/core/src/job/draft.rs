//! A job to be enqueued.

use std::sync::Arc;

use super::dedup::Dedup;
use super::id::JobId;
use super::lifecycle::Lifecycle;
use super::payload::Payload;
use super::row::Job;
use super::spec::JobSpec;
use crate::capacity::side::Side;
use crate::clock::Timestamp;

/// A job to be enqueued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its id, made by the caller so that the response can be written before the job is stored.
    pub id: JobId,
    /// Its specification.
    pub spec: Arc<JobSpec>,
    /// Its payload.
    pub payload: Payload,
    /// When it may first be claimed; not before `now` at enqueue.
    pub scheduled_at: Timestamp,
    /// Whether `scheduled_at` is a time of the wall clock, which a client gave and which is still to
    /// come. Otherwise it is one of the host's clock: the end of a span that the host measures, which
    /// a correction of the wall clock neither shortens nor extends.
    pub on_wall: bool,
    /// Makes it unique: under a key in use, the enqueue answers with the job that has it.
    pub dedup: Option<Dedup>,
}

impl NewJob {
    /// When it is due, if it is accepted at `now`.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Timestamp {
        if self.on_wall { self.scheduled_at } else { self.scheduled_at.max(now) }
    }

    /// Its first state, if it is accepted at `now`.
    #[must_use]
    pub fn lifecycle(&self, now: Timestamp) -> Lifecycle {
        Lifecycle::accepted(&self.spec, now, self.due_at(now), self.on_wall)
    }

    /// The job as it stands when it is accepted at `now`.
    #[must_use]
    pub fn accepted(&self, now: Timestamp) -> Job {
        Job {
            id: self.id,
            spec: self.spec.clone(),
            created_at: now,
            lifecycle: self.lifecycle(now),
            attempts: vec![],
            output: None,
            progress: None,
        }
    }

    /// Which bound of its queue it counts against, if it is accepted at `now`.
    #[must_use]
    pub fn side(&self, now: Timestamp) -> Side {
        if self.on_wall { Side::Parked } else { Side::of(self.scheduled_at, now) }
    }

    /// See [`JobSpec::held_bytes`].
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.spec.held_bytes(self.payload.bytes.len() as u64)
    }
}
