//! The attempts in flight on this host: their leases, stop handles, and logs and reports so far.
//!
//! The heartbeat renews the leases of exactly these attempts. Committed changes stop them: requests to cancel,
//! and holds that disable their plugin or tenant.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::attempt::Lease;
use jobwright_core::change::{Change, Event, JobEvent, Listener, Transition};
use jobwright_core::hold::{Hold, JobLabels};
use jobwright_core::job::JobId;
use jobwright_core::log::LogBuffer;
use jobwright_core::report::ProgressReporter;
use jobwright_core::runtime::{Stop, StopReason};
use jobwright_core::store::{Controls, StoreError};

use crate::controls::ControlsView;
use crate::events::WakeUps;

/// See the documentation of the module.
#[derive(Debug)]
pub(super) struct InFlight {
    controls: Arc<ControlsView>,
    wake_ups: Arc<WakeUps>,
    attempts: Mutex<Attempts>,
}

#[derive(Debug, Default)]
struct Attempts {
    /// By job and attempt number: an attempt whose lease was lost may still run when the next one begins.
    running: BTreeMap<(JobId, u32), Running>,
    /// Requests to cancel that were committed between the claim of an attempt and its start.
    early: HashSet<(JobId, u32)>,
}

/// An attempt in flight.
#[derive(Debug)]
pub(super) struct Running {
    /// Its lease.
    pub(super) lease: Lease,
    /// The labels of its job, by which holds cover it.
    pub(super) labels: JobLabels,
    /// Stops it.
    pub(super) stop: Stop,
    /// Its log and reports so far.
    pub(super) traces: Traces,
}

/// The log and the reports of a running attempt.
#[derive(Debug, Clone)]
pub(super) struct Traces {
    /// Its log.
    pub(super) log: Arc<LogBuffer>,
    /// Its progress and checkpoint.
    pub(super) report: Arc<ProgressReporter>,
}

/// Removes an attempt from those in flight on drop.
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

    /// Adds an attempt, so that its lease is renewed and it can be stopped.
    pub(super) fn enlist(self: &Arc<Self>, attempt: Running) -> Enlisted {
        let key = (attempt.lease.job, attempt.lease.attempt);
        let mut attempts = self.lock();
        if attempts.early.remove(&key) {
            attempt.stop.raise(StopReason::Cancelled);
        }
        // A hold reaches the controls before `disable`, which waits for this lock: either the hold is
        // found here, or `disable` finds the attempt.
        if self.controls.disabled(&attempt.labels).is_some() {
            attempt.stop.raise(StopReason::Disabled);
        }
        attempts.running.insert(key, attempt);
        Enlisted { in_flight: self.clone(), key }
    }

    /// Stops an attempt because its job was cancelled, also if it has not started yet. Later attempts of a
    /// job that was redriven go on.
    fn cancel(&self, job: JobId, attempt: u32) {
        let mut attempts = self.lock();
        match attempts.running.get(&(job, attempt)) {
            Some(attempt) => attempt.stop.raise(StopReason::Cancelled),
            None => drop(attempts.early.insert((job, attempt))),
        }
    }

    /// Stops the attempt of `lease`.
    pub(super) fn stop(&self, lease: Lease, reason: StopReason) {
        if let Some(attempt) = self.lock().running.get(&(lease.job, lease.attempt)) {
            attempt.stop.raise(reason);
        }
    }

    /// Interrupts the attempts that `hold` disables; their jobs return to the queue.
    fn disable(&self, hold: &Hold) {
        let attempts = self.lock();
        for attempt in attempts.running.values().filter(|attempt| hold.covers(&attempt.labels)) {
            attempt.stop.raise(StopReason::Disabled);
        }
    }

    /// Reads again what is disabled, and interrupts the attempts that it covers.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn refresh(&self, controls: &dyn Controls) -> Result<(), StoreError> {
        self.controls.refresh(controls).await?;
        let attempts = self.lock();
        let is_disabled = |attempt: &&Running| self.controls.disabled(&attempt.labels).is_some();
        for attempt in attempts.running.values().filter(is_disabled) {
            attempt.stop.raise(StopReason::Disabled);
        }
        Ok(())
    }

    /// Notifies every attempt that the host is stopping.
    pub(super) fn notice_all(&self) {
        self.lock().running.values().for_each(|attempt| attempt.stop.notice());
    }

    /// Stops every attempt.
    pub(super) fn stop_all(&self, reason: StopReason) {
        self.lock().running.values().for_each(|attempt| attempt.stop.raise(reason));
    }

    /// Whether no attempt is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().running.is_empty()
    }

    /// The leases in flight.
    pub(super) fn leases(&self) -> Vec<Lease> {
        self.lock().running.values().map(|attempt| attempt.lease).collect()
    }

    /// The logs and reports of the attempts in flight.
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
                Event::Hold(change) if change.held && change.hold.stops() => {
                    self.disable(&change.hold);
                }
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
        // Its verdict is committed, so its job holds nothing back any more: the tenant at its limit, suspects, and what
        // claims under way could not use.
        self.in_flight.wake_ups.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use jobwright_core::clock::Timestamp;
    use jobwright_core::host::HostId;
    use jobwright_core::job::QueueName;
    use jobwright_core::plugin::Digest;
    use jobwright_core::tenant::TenantName;

    use super::*;

    #[test]
    fn a_request_to_cancel_before_the_start_stops_only_its_own_attempt() {
        let in_flight = InFlight::new(Arc::default(), Arc::default());
        let job = JobId::new(Timestamp::UNIX_EPOCH);
        let stopped = |attempt| {
            let (host, expires_at) = (HostId::from_random([1; 16]), Timestamp::UNIX_EPOCH);
            let lease = Lease { job, attempt, host, expires_at };
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
        assert_eq!(stopped(1), None, "the request was removed when its attempt started");
    }
}
