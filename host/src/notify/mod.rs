//! Who is to hear of what happened.
//!
//! Workers hear of work, waiters of a job's end, attempts of a request to stop. All of these are
//! hints within one process. Losing one costs time, never a job: everyone who waits here also looks
//! at the store now and then.

mod announcing;
mod waiters;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::attempt::Lease;
use jobwright_core::hold::{Facts, Hold};
use jobwright_core::job::JobId;
use jobwright_core::log::LogBuffer;
use jobwright_core::report::Report;
use jobwright_core::runtime::{Stop, StopReason};
use tokio::sync::Notify;

pub use self::announcing::AnnouncingStore;
pub use self::waiters::{MAX_WAITERS, Place, TooManyWaiters, Waiter, Waiters};

/// The process's hints, shared by all who give and take them.
#[derive(Debug, Default)]
pub struct Signals {
    /// A job may have become claimable, or a slot or memory free.
    pub work: Notify,
    /// A job was finalized, so there may be room for another.
    pub room: Notify,
    /// Who waits for which job's end.
    pub waiters: Waiters,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    /// By job and number: one whose lease was lost may still run when the next begins.
    attempts: BTreeMap<(JobId, u32), InFlight>,
    /// Requests to stop that came between a claim and the start of its attempt.
    early: HashSet<(JobId, u32)>,
    /// What is switched off.
    holds: BTreeSet<Hold>,
}

impl Running {
    /// What is switched off of a job with these facts.
    fn off(&self, facts: &Facts) -> Option<Hold> {
        if self.holds.is_empty() {
            return None;
        }
        Hold::over(facts).into_iter().find(|hold| hold.is_in(&self.holds))
    }
}

/// An attempt that this process makes.
#[derive(Debug)]
struct InFlight {
    lease: Lease,
    facts: Facts,
    stop: Stop,
    traces: Traces,
}

/// What an attempt leaves while it runs.
#[derive(Debug, Clone)]
pub struct Traces {
    /// What it logs.
    pub log: Arc<LogBuffer>,
    /// What it tells.
    pub report: Arc<Report>,
}

/// Keeps an attempt among those in flight until dropped.
#[derive(Debug)]
pub struct Enlisted {
    signals: Arc<Signals>,
    key: (JobId, u32),
}

impl Signals {
    /// No hints yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Counts an attempt among those in flight, so that it can be renewed and stopped.
    pub fn enlist(
        self: &Arc<Self>,
        (lease, facts): (Lease, Facts),
        stop: Stop,
        traces: Traces,
    ) -> Enlisted {
        let mut running = self.running();
        let key = (lease.job, lease.attempt);
        if running.off(&facts).is_some() {
            stop.raise(StopReason::SwitchedOff);
        }
        if running.early.remove(&key) {
            stop.raise(StopReason::Cancelled);
        }
        running.attempts.insert(key, InFlight { lease, facts, stop, traces });
        Enlisted { signals: self.clone(), key }
    }

    /// Asks an attempt at `job` to stop because it was cancelled, also one that is just starting. A
    /// later attempt does not hear of it: it belongs to someone who has made the job due again.
    pub fn cancel(&self, job: JobId, attempt: u32) {
        let mut running = self.running();
        match running.attempts.get(&(job, attempt)) {
            Some(attempt) => attempt.stop.raise(StopReason::Cancelled),
            None => drop(running.early.insert((job, attempt))),
        }
    }

    /// Asks the attempt that holds, or held, `lease` to stop.
    pub fn stop(&self, lease: Lease, reason: StopReason) {
        if let Some(attempt) = self.running().attempts.get(&(lease.job, lease.attempt)) {
            attempt.stop.raise(reason);
        }
    }

    /// Something is held, or not any more: what is switched off is interrupted, so that its jobs go
    /// back to where they are held. Answers whether that is news.
    pub fn hold(&self, hold: Hold, held: bool) -> bool {
        if !hold.stops() {
            return false;
        }
        let mut running = self.running();
        if !held {
            return running.holds.remove(&hold);
        }
        for attempt in running.attempts.values().filter(|attempt| hold.covers(&attempt.facts)) {
            attempt.stop.raise(StopReason::SwitchedOff);
        }
        running.holds.insert(hold)
    }

    /// What is switched off of a job with these facts.
    #[must_use]
    pub fn switched_off(&self, facts: &Facts) -> Option<Hold> {
        self.running().off(facts)
    }

    /// Whether this is switched off, by whomever.
    #[must_use]
    pub fn is_switched_off(&self, hold: &Hold) -> bool {
        hold.is_in(&self.running().holds)
    }

    /// Lets every attempt know that the host is about to stop.
    pub fn notice_all(&self) {
        self.running().attempts.values().for_each(|attempt| attempt.stop.notice());
    }

    /// Asks every attempt to stop.
    pub fn stop_all(&self, reason: StopReason) {
        self.running().attempts.values().for_each(|attempt| attempt.stop.raise(reason));
    }

    /// The leases in flight.
    #[must_use]
    pub fn leases(&self) -> Vec<Lease> {
        self.running().attempts.values().map(|attempt| attempt.lease).collect()
    }

    /// What the attempts in flight leave.
    #[must_use]
    pub fn traces(&self) -> Vec<(Lease, Traces)> {
        self.running().attempts.values().map(|a| (a.lease, a.traces.clone())).collect()
    }

    /// Tells that a job is over.
    pub fn finalized(&self, job: JobId) {
        self.running().early.retain(|(early, _)| *early != job);
        self.waiters.wake(job);
        self.room.notify_waiters();
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.signals.running().attempts.remove(&self.key);
        // Its slot and its memory are free.
        self.signals.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use jobwright_core::clock::Timestamp;
    use jobwright_core::job::QueueName;
    use jobwright_core::plugin::Digest;
    use jobwright_core::tenant::TenantName;

    use super::*;

    #[test]
    fn a_request_to_cancel_that_comes_early_waits_for_its_attempt_and_for_no_other() {
        let signals = Signals::new();
        let job = JobId::new(Timestamp::UNIX_EPOCH);
        let stopped = |attempt| {
            let lease = Lease { job, attempt, expires_at: Timestamp::UNIX_EPOCH };
            let (stop, signal) = Stop::new();
            let (log, report) = (LogBuffer::new(0), Report::new(None, 0));
            let traces = Traces { log: Arc::new(log), report: Arc::new(report) };
            let facts = Facts {
                tenant: TenantName::default(),
                queue: QueueName::default(),
                plugin: "p".parse().expect("a name"),
                version: "1.0.0".parse().expect("a version"),
                digest: Digest::of(b""),
            };
            let _enlisted = signals.enlist((lease, facts), stop, traces);
            signal.raised()
        };
        signals.cancel(job, 1);
        assert_eq!(stopped(2), None, "someone made the job due again");
        assert_eq!(stopped(1), Some(StopReason::Cancelled));
        assert_eq!(stopped(1), None, "it has been told");
    }
}
