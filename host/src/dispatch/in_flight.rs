//! The attempts that this host makes: their leases, how each is stopped, and what it has left so far.
//!
//! The heartbeat renews the leases of exactly these attempts: one that is not here loses its lease. What
//! was committed stops them: a request to cancel, or a hold that disables their plugin or tenant.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::attempt::Lease;
use jobwright_core::change::{Change, Event, JobEvent, Listener, Transition};
use jobwright_core::hold::{Hold, JobLabels};
use jobwright_core::job::JobId;
use jobwright_core::log::LogBuffer;
use jobwright_core::report::ProgressReporter;
use jobwright_core::runtime::{Stop, StopReason};

use crate::controls::ControlsView;
use crate::events::WakeUps;

/// See the module's text.
#[derive(Debug)]
pub(super) struct InFlight {
    controls: Arc<ControlsView>,
    wake_ups: Arc<WakeUps>,
    attempts: Mutex<Attempts>,
}

#[derive(Debug, Default)]
struct Attempts {
    /// By job and number: one whose lease was lost may still run when the next begins.
    running: BTreeMap<(JobId, u32), Running>,
    /// Requests to stop that came between a claim and the start of its attempt.
    early: HashSet<(JobId, u32)>,
}

/// An attempt that this host makes.
#[derive(Debug)]
pub(super) struct Running {
    /// The right to it.
    pub(super) lease: Lease,
    /// What its job belongs to.
    pub(super) labels: JobLabels,
    /// What stops it.
    pub(super) stop: Stop,
    /// What it leaves.
    pub(super) traces: Traces,
}

/// What an attempt leaves while it runs.
#[derive(Debug, Clone)]
pub(super) struct Traces {
    /// Its log.
    pub(super) log: Arc<LogBuffer>,
    /// Its progress and checkpoint.
    pub(super) report: Arc<ProgressReporter>,
}

/// Keeps an attempt among those in flight until dropped.
#[derive(Debug)]
pub(super) struct Enlisted {
    in_flight: Arc<InFlight>,
    key: (JobId, u32),
}

impl InFlight {
    /// No attempts yet.
    pub(super) fn new(controls: Arc<ControlsView>, wake_ups: Arc<WakeUps>) -> Arc<Self> {
        Arc::new(Self { controls, wake_ups, attempts: Mutex::default() })
    }

    /// Counts an attempt among those in flight, so that its lease is renewed and it can be stopped.
    pub(super) fn enlist(self: &Arc<Self>, attempt: Running) -> Enlisted {
        let key = (attempt.lease.job, attempt.lease.attempt);
        let mut attempts = self.lock();
        if attempts.early.remove(&key) {
            attempt.stop.raise(StopReason::Cancelled);
        }
        // The controls hear of a hold first, and it then waits for this lock: it is found here, or finds
        // the attempt.
        if self.controls.disabled(&attempt.labels).is_some() {
            attempt.stop.raise(StopReason::SwitchedOff);
        }
        attempts.running.insert(key, attempt);
        Enlisted { in_flight: self.clone(), key }
    }

    /// Asks an attempt at `job` to stop because it was cancelled, also one that is just starting. A
    /// later attempt is not stopped: the job was redriven in between.
    fn cancel(&self, job: JobId, attempt: u32) {
        let mut attempts = self.lock();
        match attempts.running.get(&(job, attempt)) {
            Some(attempt) => attempt.stop.raise(StopReason::Cancelled),
            None => drop(attempts.early.insert((job, attempt))),
        }
    }

    /// Asks the attempt that holds, or held, `lease` to stop.
    pub(super) fn stop(&self, lease: Lease, reason: StopReason) {
        if let Some(attempt) = self.lock().running.get(&(lease.job, lease.attempt)) {
            attempt.stop.raise(reason);
        }
    }

    /// Interrupts the attempts that `hold` disables; their jobs go back to where they are held.
    fn disable(&self, hold: &Hold) {
        let attempts = self.lock();
        for attempt in attempts.running.values().filter(|attempt| hold.covers(&attempt.labels)) {
            attempt.stop.raise(StopReason::SwitchedOff);
        }
    }

    /// Lets every attempt know that the host is about to stop.
    pub(super) fn notice_all(&self) {
        self.lock().running.values().for_each(|attempt| attempt.stop.notice());
    }

    /// Asks every attempt to stop.
    pub(super) fn stop_all(&self, reason: StopReason) {
        self.lock().running.values().for_each(|attempt| attempt.stop.raise(reason));
    }

    /// The leases in flight.
    pub(super) fn leases(&self) -> Vec<Lease> {
        self.lock().running.values().map(|attempt| attempt.lease).collect()
    }

    /// What the attempts in flight have left so far.
    pub(super) fn traces(&self) -> Vec<(Lease, Traces)> {
        self.lock().running.values().map(|it| (it.lease, it.traces.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for InFlight {
    fn committed(&self, changes: &[Change]) {
        for change in changes {
            match &change.event {
                Event::Hold(hold, true) if hold.stops() => self.disable(hold),
                Event::Hold(..) | Event::Tenant(_) => {}
                Event::Job(JobEvent { job, attempt, transition, .. }) => match transition {
                    Transition::CancelRequested => self.cancel(*job, *attempt),
                    Transition::Finalized { .. } => {
                        let mut attempts = self.lock();
                        if !attempts.early.is_empty() {
                            attempts.early.retain(|(early, _)| early != job);
                        }
                    }
                    Transition::Enqueued | Transition::Started | Transition::Waiting => {}
                },
            }
        }
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.in_flight.lock().running.remove(&self.key);
        // Its slot and its memory are free.
        self.in_flight.wake_ups.work.notify_one();
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
        let in_flight = InFlight::new(Arc::default(), Arc::default());
        let job = JobId::new(Timestamp::UNIX_EPOCH);
        let stopped = |attempt| {
            let lease = Lease { job, attempt, expires_at: Timestamp::UNIX_EPOCH };
            let (stop, signal) = Stop::new();
            let (log, report) = (LogBuffer::new(0), ProgressReporter::new(None, 0));
            let traces = Traces { log: Arc::new(log), report: Arc::new(report) };
            let labels = JobLabels {
                tenant: TenantName::default(),
                queue: QueueName::default(),
                plugin: "p".parse().expect("a name"),
                version: "1.0.0".parse().expect("a version"),
                digest: Digest::of(b""),
            };
            let _enlisted = in_flight.enlist(Running { lease, labels, stop, traces });
            signal.raised()
        };
        in_flight.cancel(job, 1);
        assert_eq!(stopped(2), None, "the job was redriven");
        assert_eq!(stopped(1), Some(StopReason::Cancelled));
        assert_eq!(stopped(1), None, "it has been told");
    }
}
