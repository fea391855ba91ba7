//! What attempts in flight need now and then: a longer lease, and their log saved.

use std::collections::HashMap;
use std::time::Duration;

use jobwright_core::clock::after;
use jobwright_core::job::JobId;
use jobwright_core::runtime::StopReason;
use jobwright_core::store::Renewal;
use tokio::sync::Mutex;

use super::Dispatcher;

/// How often the logs that are being written are saved: a crash costs the last second of a log.
const LOG_SAVE: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// Renews every lease in flight at a third of its length, from a task that no guest can delay.
    pub(super) async fn heartbeats(self) {
        self.repeat(self.settings.heartbeat, || self.heartbeat()).await;
    }

    async fn heartbeat(&self) {
        let leases = self.signals.leases();
        if leases.is_empty() {
            return;
        }
        let until = after(self.clock.now(), self.settings.lease);
        match self.store.renew(leases.clone(), until).await {
            Err(error) => tracing::warn!(%error, "cannot renew leases"),
            Ok(renewals) => {
                for (lease, renewal) in leases.iter().zip(renewals) {
                    match renewal {
                        Renewal::Extended => {}
                        Renewal::CancelRequested => {
                            self.signals.stop(*lease, StopReason::Cancelled);
                        }
                        Renewal::LeaseLost => {
                            self.signals.stop(*lease, StopReason::Interrupted);
                        }
                    }
                }
            }
        }
    }

    /// Saves the logs that have grown since they were last saved.
    pub(super) async fn log_saves(self) {
        let saved = Mutex::new(HashMap::new());
        self.repeat(LOG_SAVE, || self.save_logs(&saved)).await;
    }

    async fn save_logs(&self, saved: &Mutex<HashMap<(JobId, u32), u64>>) {
        let logs = self.signals.logs();
        let mut saved = saved.lock().await;
        let mut current = HashMap::with_capacity(logs.len());
        for (lease, log) in logs {
            let key = (lease.job, lease.attempt);
            let written = log.written();
            current.insert(key, written);
            if written > saved.get(&key).copied().unwrap_or(0) {
                self.save_log(lease, &log).await;
            }
        }
        *saved = current;
    }
}
