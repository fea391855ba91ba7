//! What each queue holds, for people and programs that ask.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Queue;
use super::waiting::Wait;
use crate::capacity::CapacityLimits;
use crate::clock::{Timestamp, until};
use crate::hold::Hold;
use crate::job::QueueName;
use crate::tenant::TenantName;

/// What a queue holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueCounts {
    /// The tenant that it belongs to.
    #[serde(skip_serializing_if = "TenantName::is_default")]
    pub tenant: TenantName,
    /// Its name.
    pub name: QueueName,
    /// Waiting jobs, due or not.
    pub depth: usize,
    /// Of these, the ones that are not due yet.
    pub scheduled: usize,
    /// Running jobs.
    pub running: usize,
    /// How many jobs that are due or running it may hold.
    pub capacity: usize,
    /// Jobs that are neither due nor running.
    pub parked: usize,
    /// How many of these it may hold.
    pub parked_capacity: usize,
    /// How long the oldest due job has been due, in milliseconds.
    pub oldest_age_ms: u64,
    /// Whether claims pass it by.
    pub paused: bool,
}

impl QueueCounts {
    /// A queue without jobs.
    #[must_use]
    pub fn empty(tenant: TenantName, name: QueueName, limits: &CapacityLimits) -> Self {
        Self {
            tenant,
            name,
            depth: 0,
            scheduled: 0,
            running: 0,
            capacity: limits.per_queue,
            parked: 0,
            parked_capacity: limits.parked_per_queue,
            oldest_age_ms: 0,
            paused: false,
        }
    }
}

/// The jobs of one queue.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) running: usize,
    /// Those that wait and are due.
    due: BTreeSet<Wait>,
    /// Those that wait for their time.
    parked: usize,
}

impl Load {
    pub(super) fn is_empty(&self) -> bool {
        self.running == 0 && self.waiting() == 0
    }

    pub(super) fn waiting(&self) -> usize {
        self.due.len() + self.parked
    }

    pub(super) fn add(&mut self, wait: Wait, is_due: bool) {
        if is_due {
            self.due.insert(wait);
        } else {
            self.parked += 1;
        }
    }

    pub(super) fn remove(&mut self, wait: &Wait) {
        if !self.due.remove(wait) {
            self.parked -= 1;
        }
    }
}

impl Queue {
    /// What every queue holds that has unfinished jobs or is paused, by tenant and name: as of the latest
    /// [look](Self::pass_time) at what is due.
    #[must_use]
    pub fn counts(&self, now: Timestamp, limits: &CapacityLimits) -> Vec<QueueCounts> {
        let mut counts: BTreeMap<_, _> = self
            .loads
            .iter()
            .map(|(key, load)| {
                let oldest = load.due.first().map_or(now, |wait| wait.at);
                let counts = QueueCounts {
                    depth: load.waiting(),
                    scheduled: load.parked,
                    parked: load.parked,
                    running: load.running,
                    oldest_age_ms: u64::try_from(until(oldest, now).as_millis())
                        .unwrap_or(u64::MAX),
                    ..QueueCounts::empty(key.0.clone(), key.1.clone(), limits)
                };
                (key.clone(), counts)
            })
            .collect();
        for hold in &self.holds {
            if let Hold::Queue { tenant, queue } = hold {
                let key = (tenant.clone(), queue.clone());
                let empty = || QueueCounts::empty(key.0.clone(), key.1.clone(), limits);
                counts.entry(key.clone()).or_insert_with(empty).paused = true;
            }
        }
        counts.into_values().collect()
    }
}
