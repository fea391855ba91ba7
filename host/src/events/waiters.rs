//! Requests that wait for jobs to be finalized, with a bound on their number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::job::JobId;
use jobwright_core::tenant::TenantName;
use thiserror::Error;
use tokio::sync::Notify;

use crate::shares::table::WAITERS;
use crate::shares::{Permit, Shares};

/// The maximum number of waiting requests.
pub const MAX_WAITERS: u64 = WAITERS.all;

/// See the documentation of the module.
#[derive(Debug, Clone)]
pub struct Waiters {
    permits: Shares,
    by_job: Arc<Mutex<ByJob>>,
}

/// The waiters of each job: the channel that wakes them, and their number.
type ByJob = HashMap<JobId, (Arc<Notify>, usize)>;

/// The maximum number of requests waits already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "this tenant already has as many waiting requests as it may (of {MAX_WAITERS} on this host): \
     repeat the request without a wait"
)]
pub struct TooManyWaiters;

/// The permit of a waiting request, until dropped.
#[derive(Debug)]
pub struct WaitPermit {
    _taken: Permit,
}

/// A request that waits for a job, until dropped.
#[derive(Debug)]
pub struct Waiter {
    waiters: Waiters,
    _permit: WaitPermit,
    job: JobId,
    notify: Arc<Notify>,
}

impl Default for Waiters {
    fn default() -> Self {
        Self { permits: Shares::new(&WAITERS), by_job: Arc::default() }
    }
}

impl Waiters {
    /// Subscribes to the end of `job`. Read the store after this call, not before.
    ///
    /// # Errors
    /// [`TooManyWaiters`].
    pub fn listen(&self, tenant: &TenantName, job: JobId) -> Result<Waiter, TooManyWaiters> {
        let permit = self.permit(tenant)?;
        let mut waiting = self.lock();
        let (notify, listeners) = waiting.entry(job).or_default();
        *listeners += 1;
        Ok(Waiter { waiters: self.clone(), _permit: permit, job, notify: notify.clone() })
    }

    /// A permit for a request that waits for something else than a job.
    ///
    /// # Errors
    /// [`TooManyWaiters`].
    pub fn permit(&self, tenant: &TenantName) -> Result<WaitPermit, TooManyWaiters> {
        let taken = self.permits.of(tenant).try_acquire(1u64).map_err(|_| TooManyWaiters)?;
        Ok(WaitPermit { _taken: taken })
    }

    /// Wakes all requests that wait for `job`.
    pub(super) fn wake(&self, job: JobId) {
        if let Some((notify, _)) = self.lock().get(&job) {
            notify.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ByJob> {
        self.by_job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// The next wake-up for the job. Create the future before reading the store and await it
    /// afterwards, so that no wake-up in between is missed.
    pub fn hint(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiters.lock();
        if let Some((_, listeners)) = waiting.get_mut(&self.job) {
            *listeners -= 1;
            if *listeners == 0 {
                waiting.remove(&self.job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jobwright_core::clock::Timestamp;

    use super::*;

    #[test]
    fn the_number_of_waiting_requests_is_bounded() {
        let (waiters, job) = (Waiters::default(), JobId::new(Timestamp::UNIX_EPOCH));
        let [a, b] = ["a", "b"].map(|name| name.parse::<TenantName>().expect("a name"));
        let mut permits: Vec<WaitPermit> =
            (1..576).map(|_| waiters.permit(&a).expect("there is room")).collect();
        let last = waiters.listen(&a, job).expect("there is room for one");
        waiters.listen(&a, job).expect_err("it has its share");
        waiters.permit(&a).expect_err("it has its share");
        let other = waiters.listen(&b, job).expect("room for another tenant");
        drop(last);
        permits.push(waiters.permit(&a).expect("it was given back"));
        drop((permits, other));
        assert_eq!(waiters.permits.available(), MAX_WAITERS);
        assert!(waiters.lock().is_empty());
    }
}
