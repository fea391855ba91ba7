//! Logs in memory, bounded: the oldest of the tenant that holds most go for each that comes.

use std::collections::BTreeMap;

use crate::capacity::HeldBytes;
use crate::job::{JobId, MAX_RECORDS};
use crate::log::LogSnapshot;
use crate::store::AttemptLog;
use crate::tenant::TenantName;

/// See the documentation of the module.
#[derive(Debug, Default)]
pub struct Logs {
    logs: BTreeMap<(JobId, u32), (TenantName, LogSnapshot)>,
    held: HeldBytes,
    most_bytes: u64,
}

impl Logs {
    /// No logs yet, and never more than `most_bytes` of them.
    #[must_use]
    pub fn new(most_bytes: u64) -> Self {
        Self { most_bytes, ..Self::default() }
    }

    /// Keeps the log of an attempt at a job of `tenant`, in place of an earlier one.
    pub fn save(&mut self, tenant: &TenantName, id: JobId, log: AttemptLog) {
        let AttemptLog { attempt, log } = log;
        self.remove(id, attempt);
        self.held.add(tenant, log.bytes.len() as u64);
        self.logs.insert((id, attempt), (tenant.clone(), log));
        while self.held.bytes() > self.most_bytes
            && let Some(largest) = self.held.largest()
            && let Some((&(id, attempt), _)) =
                self.logs.iter().find(|(_, (tenant, _))| tenant == largest)
        {
            self.remove(id, attempt);
        }
    }

    /// The logs of a job's attempts, oldest first; of very many the latest.
    #[must_use]
    pub fn of(&self, id: JobId) -> Vec<AttemptLog> {
        let kept = self.logs.range((id, 0)..=(id, u32::MAX));
        let logs = kept.map(|((_, attempt), (_, log))| (*attempt, log.clone()));
        let mut logs: Vec<_> = logs.map(|(attempt, log)| AttemptLog { attempt, log }).collect();
        logs.drain(..logs.len().saturating_sub(MAX_RECORDS));
        logs
    }

    /// Removes the logs of a job.
    pub fn remove_all(&mut self, id: JobId) {
        let kept = self.logs.range((id, 0)..=(id, u32::MAX));
        let attempts: Vec<u32> = kept.map(|((_, attempt), _)| *attempt).collect();
        attempts.into_iter().for_each(|attempt| self.remove(id, attempt));
    }

    fn remove(&mut self, id: JobId, attempt: u32) {
        if let Some((tenant, log)) = self.logs.remove(&(id, attempt)) {
            self.held.remove(&tenant, log.bytes.len() as u64);
        }
    }
}
