//! Who waits for which job's end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::job::JobId;
use thiserror::Error;
use tokio::sync::Notify;

/// Requests that may wait at one time: each holds a connection and some kilobytes.
const MAX_WAITERS: usize = 10_000;

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
#[error("{MAX_WAITERS} requests are waiting for jobs, the most that may")]
pub struct TooManyWaiters;

/// One who waits, until dropped.
#[derive(Debug)]
pub struct Waiter {
    waiters: Waiters,
    job: JobId,
    notify: Arc<Notify>,
}

impl Waiters {
    /// Begins to listen for the end of `job`; look at the store after this, not before.
    ///
    /// # Errors
    /// [`TooManyWaiters`].
    pub fn listen(&self, job: JobId) -> Result<Waiter, TooManyWaiters> {
        let mut waiting = self.lock();
        if waiting.count >= MAX_WAITERS {
            return Err(TooManyWaiters);
        }
        waiting.count += 1;
        let (notify, listeners) = waiting.by_job.entry(job).or_default();
        *listeners += 1;
        Ok(Waiter { waiters: self.clone(), job, notify: notify.clone() })
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

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiters.lock();
        waiting.count -= 1;
        if let Some((_, listeners)) = waiting.by_job.get_mut(&self.job) {
            *listeners -= 1;
            if *listeners == 0 {
                waiting.by_job.remove(&self.job);
            }
        }
    }
}
