//! How jobs are accepted.

use super::rows::{Place, Rows};
use super::state::Ledger;
use crate::capacity::{Permit, QueueFull};
use crate::change::Transition;
use crate::clock::Timestamp;
use crate::job::{NewJob, UsedKey};
use crate::queue::Entry;
use crate::store::Enqueued;

/// A job to be enqueued with its permit, or why there was none; `None` to acquire one only when the command runs.
#[derive(Debug)]
pub struct Admission {
    /// The job.
    pub job: NewJob,
    /// Its permit.
    pub permit: Option<Result<Permit, QueueFull>>,
}

impl<R: Rows> Ledger<R> {
    /// See [`JobStore::enqueue`](crate::store::JobStore::enqueue).
    ///
    /// # Errors
    /// As the rows.
    pub fn enqueue(
        &mut self,
        jobs: Vec<Admission>,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>, R::Error> {
        jobs.into_iter().map(|admission| self.enqueue_one(admission, now)).collect()
    }

    fn enqueue_one(&mut self, admission: Admission, now: Timestamp) -> Result<Enqueued, R::Error> {
        let Admission { job, permit } = admission;
        if let Some(dedup) = &job.dedup
            && let Some(used) = self.rows.used_key(&job.spec.tenant, dedup)?
            && let Some(answer) = Enqueued::repeated(used, dedup, now)
        {
            return Ok(answer);
        }
        if let Err(full) = self.room_for_key(&job) {
            return Ok(Enqueued::QueueFull(full));
        }
        self.pass_time(now);
        let (held_bytes, side) = (job.held_bytes(), job.side(now));
        let reserve = || self.capacity.reserve(&(&*job.spec).into(), held_bytes, side);
        let permit = match permit.unwrap_or_else(reserve) {
            Ok(permit) => permit,
            Err(full) => return Ok(Enqueued::QueueFull(full)),
        };
        if let Some(dedup) = &job.dedup {
            self.rows.use_key(&UsedKey { dedup: dedup.clone(), first: job.accepted(now) })?;
            self.keys.add(job.spec.tenant.clone(), dedup.bytes(&job.spec));
        }
        let id = job.id;
        let entry = Entry {
            priority: job.spec.priority,
            memory_bytes: job.spec.limits.host_bytes(),
            payload_bytes: job.payload.bytes.len() as u64,
            lifecycle: job.lifecycle(now),
            row: self.next_row(),
            permit,
        };
        let position = self.change(id, &entry.standing(), Transition::Enqueued);
        let at = Place { row: entry.row, position, now };
        self.rows.insert(at, job, &entry.lifecycle)?;
        self.queue.insert(id, entry, now);
        self.grow(held_bytes)?;
        Ok(Enqueued::Inserted)
    }

    fn room_for_key(&self, job: &NewJob) -> Result<(), QueueFull> {
        let Some(dedup) = &job.dedup else { return Ok(()) };
        let tenant = &job.spec.tenant;
        let (limits, kept) = (self.capacity.tenant(tenant), self.capacity.limits().kept);
        self.keys.check(tenant, limits, dedup.bytes(&job.spec), kept)
    }
}
