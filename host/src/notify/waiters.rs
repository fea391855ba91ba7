//! Who waits: for which job's end, and how many in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::job::JobId;
use thiserror::Error;
use tokio::sync::Notify;

/// Requests that may wait at one time. Each holds a connection, of which there are 1,024: a quarter is
/// always left to those who do not wait.
pub const MAX_WAITERS: usize = 768;

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub struct Waiters(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    by_job: HashMap<JobId, (Arc<Notify>, usize)>,
}

/// There are too many already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{MAX_WAITERS} requests are waiting, the most that may: ask again without a wait")]
pub struct TooManyWaiters;

/// A place among all who wait, until dropped.
#[derive(Debug)]
pub struct Place(Waiters);

/// One who waits for a job, until dropped.
#[derive(Debug)]
pub struct Waiter {
    place: Place,
    job: JobId,
    notify: Arc<Notify>,
}

impl Waiters {
    /// Begins to listen for the end of `job`; look at the store after this, not before.
    ///
    /// # Errors
    /// [`TooManyWaiters`].
    pub fn listen(&self, job: JobId) -> Result<Waiter, TooManyWaiters> {
        let place = self.place()?;
        let mut waiting = self.lock();
        let (notify, listeners) = waiting.by_job.entry(job).or_default();
        *listeners += 1;
        Ok(Waiter { place, job, notify: notify.clone() })
    }

    /// A place for one who waits for something else than a job.
    ///
    /// # Errors
    /// [`TooManyWaiters`].
    pub fn place(&self) -> Result<Place, TooManyWaiters> {
        let mut waiting = self.lock();
        if waiting.count >= MAX_WAITERS {
            return Err(TooManyWaiters);
        }
        waiting.count += 1;
        Ok(Place(self.clone()))
    }

    /// Tells everyone who waits for `job` that it is over.
    pub(super) fn wake(&self, job: JobId) {
        if let Some((notify, _)) = self.lock().by_job.get(&job) {
            notify.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// The next hint that the job may be over. Make it before looking at the store, await it after:
    /// a hint that comes between is not missed.
    pub fn hint(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().count -= 1;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.place.0.lock();
        if let Some((_, listeners)) = waiting.by_job.get_mut(&self.job) {
            *listeners -= 1;
            if *listeners == 0 {
                waiting.by_job.remove(&self.job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jobwright_core::clock::Timestamp;

    use super::*;

    #[test]
    fn no_more_wait_than_may_whatever_for() {
        let (waiters, job) = (Waiters::default(), JobId::new(Timestamp::UNIX_EPOCH));
        let mut places: Vec<Place> =
            (1..MAX_WAITERS).map(|_| waiters.place().expect("there is room")).collect();
        let last = waiters.listen(job).expect("there is room for one");
        waiters.listen(job).expect_err("there is none");
        waiters.place().expect_err("there is none");
        drop(last);
        places.push(waiters.place().expect("it was given back"));
        drop(places);
        assert_eq!(waiters.lock().count, 0);
        assert!(waiters.lock().by_job.is_empty());
    }
}
