//! What attempts in flight need now and then: a longer lease, and saved what they log and tell.

use std::collections::HashMap;
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

/// How often what attempts log and tell is saved: a crash costs the last second of it.
const SAVE: Duration = Duration::from_secs(1);

/// How long a heartbeat waits for the end of a claim: much longer than one takes. With one that is stuck it
/// renews all the same, and leaves the reclaiming to the next heartbeat.
const CLAIM: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// Renews every lease in flight at a third of its length, from a task that no guest can delay; then
    /// reclaims those that have expired. In this order: a process that was stopped for longer than a
    /// lease, with the whole machine or alone, must not take its own attempts for lost when it goes on. Both
    /// are done as of one moment, however long the first takes, and while nothing is being claimed.
    pub(super) async fn heartbeats(self) {
        self.repeat(self.settings.heartbeat, || self.heartbeat()).await;
    }

    async fn heartbeat(&self) {
        let no_claim = tokio::time::timeout(CLAIM, self.claiming.lock()).await;
        let now = self.clock.now();
        if self.renew(now).await && no_claim.is_ok() {
            self.reap(now).await;
        }
    }

    /// Says whether that succeeded.
    async fn renew(&self, now: Timestamp) -> bool {
        let leases = self.in_flight.leases();
        if leases.is_empty() {
            return true;
        }
        match self.store.renew(leases.clone(), after(now, self.settings.lease), now).await {
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

    /// Saves what attempts in flight logged and told since it was last saved, and that the host lives.
    pub(super) async fn saves(self) {
        let logged = Mutex::new(HashMap::new());
        self.repeat(SAVE, || self.save(&logged)).await;
    }

    async fn save(&self, logged: &Mutex<HashMap<(JobId, u32), u64>>) {
        let traces = self.in_flight.traces();
        if !traces.is_empty()
            && let Err(error) = self.store.alive(self.clock.now()).await
        {
            tracing::warn!(%error, "cannot note that the host lives");
        }
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

    /// All of it is written again at the end of the attempt, so a failure here costs little.
    async fn save_progress(&self, lease: Lease, told: ProgressUpdate) {
        if told.is_empty() {
            return;
        }
        if let Err(error) = self.store.save_progress(lease, told).await {
            tracing::warn!(job = %lease.job, %error, "cannot save progress and checkpoint");
        }
    }
}
