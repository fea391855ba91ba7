//! Wakes workers and waiting requests when a store publishes committed changes.
//!
//! Wake-ups are hints. Losing one costs time, never a job: every waiter also polls the store.

mod waiters;

use std::sync::Arc;

use jobwright_core::change::{Change, ChangeStream, Event, JobEvent, Listener, Transition};
use tokio::sync::Notify;

pub use self::waiters::{MAX_WAITERS, TooManyWaiters, WaitPermit, Waiter, Waiters};

/// The wake-ups of a host.
#[derive(Debug, Default)]
pub struct WakeUps {
    /// A job may have become claimable, or a slot or memory free.
    pub work: Notify,
    /// A job was finalized, so there may be room for another.
    pub room: Notify,
    /// Requests that wait for a job to be finalized.
    pub waiters: Waiters,
}

impl WakeUps {
    /// Wake-ups by the changes of a store.
    #[must_use]
    pub fn by(changes: &ChangeStream) -> Arc<Self> {
        let wake_ups = Arc::new(Self::default());
        let listener: Arc<dyn Listener> = wake_ups.clone();
        changes.listen(Arc::downgrade(&listener));
        wake_ups
    }
}

impl Listener for WakeUps {
    fn committed(&self, changes: &[Change]) {
        let (mut work, mut room) = (false, false);
        for change in changes {
            match &change.event {
                Event::Hold(..) | Event::Tenant(_) => work = true,
                Event::Job(JobEvent { job, transition, .. }) => match transition {
                    Transition::Enqueued | Transition::Waiting => work = true,
                    Transition::Started | Transition::CancelRequested => {}
                    Transition::Finalized { .. } => {
                        self.waiters.wake(*job);
                        room = true;
                    }
                },
            }
        }
        if work {
            self.work.notify_one();
        }
        if room {
            self.room.notify_waiters();
        }
    }
}
