//! Periodic tasks for the attempts in flight: renewing their leases, and saving their logs, progress and
//! checkpoints.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jobwright_core::attempt::Lease;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::job::JobId;
use jobwright_core::report::ProgressUpdate;
use jobwright_core::runtime::StopReason;
use jobwright_core::store::Renewal;
use tokio::sync::Mutex;

use super::Dispatcher;
use super::in_flight::Traces;

/// The interval at which logs, progress and checkpoints are saved: a crash loses at most the last second.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// The interval of signs of life: a tenth of the time after the start of an attempt in which the death of the host
/// counts against its job.
const SIGN_INTERVAL: Duration = Duration::from_secs(1);

/// How long a heartbeat waits for claims to end, which usually takes milliseconds. After this timeout it renews
/// the leases, but leaves reclaiming to the next heartbeat.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// At every heartbeat, renews the leases in flight, then reclaims expired ones, and reads again what is disabled.
    /// The task does not run on the threads of guests, so they cannot delay it.
    ///
    /// The order matters: a process that was suspended for longer than a lease must not reclaim its own
    /// attempts when it resumes. The first two steps use the same time, and wait for claims in progress.
    pub(super) async fn heartbeats(self: Arc<Self>) {
        self.repeat(self.settings.heartbeat, || self.heartbeat()).await;
    }

    async fn heartbeat(&self) {
        let no_claim = tokio::time::timeout(CLAIM_TIMEOUT, self.claiming.write()).await;
        let now = self.parts.clock.now();
        if self.renew(now).await && no_claim.is_ok() {
            self.reap(now).await;
        }
        drop(no_claim);
        if let Err(error) = self.in_flight.refresh(&*self.parts.store).await {
            tracing::warn!(%error, "cannot read what is disabled");
        }
    }

    /// Renews the leases in flight. Returns whether the store did it.
    async fn renew(&self, now: Timestamp) -> bool {
        let leases = self.in_flight.leases();
        if leases.is_empty() {
            return true;
        }
        match self.parts.store.renew(leases.clone(), after(now, self.settings.lease), now).await {
            Err(error) => {
                tracing::warn!(%error, "cannot renew leases");
                false
            }
            Ok(renewals) => {
                for (lease, renewal) in leases.iter().zip(renewals) {
                    match renewal {
                        Renewal::Extended => {}
                        Renewal::CancelRequested => {
                            self.in_flight.stop(*lease, StopReason::Cancelled);
                        }
                        Renewal::LeaseLost => {
                            self.in_flight.stop(*lease, StopReason::Interrupted);
                        }
                    }
                }
                true
            }
        }
    }

    /// Saves the new logs, progress and checkpoints of the attempts in flight.
    pub(super) async fn saves(self: Arc<Self>) {
        let logged = Mutex::new(HashMap::new());
        self.repeat(SAVE_INTERVAL, || self.save(&logged)).await;
    }

    /// Records every second that the host is alive, while it runs attempts. It does not wait for logs and progress
    /// to be saved, which can take longer on a slow disk.
    pub(super) async fn signs_of_life(self: Arc<Self>) {
        self.repeat(SIGN_INTERVAL, || self.sign_of_life()).await;
    }

    async fn sign_of_life(&self) {
        if !self.in_flight.is_empty()
            && let Err(error) =
                self.parts.store.alive(self.random.host, self.parts.clock.now()).await
        {
            tracing::warn!(%error, "cannot record that the host is alive");
        }
    }

    async fn save(&self, logged: &Mutex<HashMap<(JobId, u32), u64>>) {
        let traces = self.in_flight.traces();
        let mut logged = logged.lock().await;
        let mut current = HashMap::with_capacity(traces.len());
        for (lease, Traces { log, report }) in traces {
            let key = (lease.job, lease.attempt);
            let written = log.written();
            current.insert(key, written);
            if written > logged.get(&key).copied().unwrap_or(0) {
                self.save_log(lease, log.snapshot().so_far()).await;
            }
            self.save_progress(lease, report.take_unsaved()).await;
        }
        *logged = current;
    }

    /// Saves progress and checkpoint. They are written again at the end of the attempt, so an error is only
    /// logged.
    async fn save_progress(&self, lease: Lease, update: ProgressUpdate) {
        if update.is_empty() {
            return;
        }
        if let Err(error) = self.parts.store.save_progress(lease, update).await {
            tracing::warn!(job = %lease.job, %error, "cannot save the progress and checkpoint");
        }
    }
}
