//! How many jobs each queue has.

use std::collections::BTreeSet;

use serde::Serialize;

use super::name::QueueName;
use super::waiting::Wait;
use crate::capacity::limits::CapacityLimits;
use crate::tenant::TenantName;

/// The counts of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueCounts {
    /// The tenant that it belongs to.
    #[serde(skip_serializing_if = "TenantName::is_default")]
    pub tenant: TenantName,
    /// Its name.
    pub name: QueueName,
    /// Waiting jobs, due or not.
    pub depth: usize,
    /// The jobs among these that are not due yet.
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
    /// Whether it is paused.
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
    /// Waiting jobs that are due.
    pub(super) due: BTreeSet<Wait>,
    /// Waiting jobs that are not due.
    pub(super) parked: usize,
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

    /// A job that is due begins.
    pub(super) fn begin(&mut self, wait: &Wait) {
        self.remove(wait);
        self.running += 1;
    }

    pub(super) fn remove(&mut self, wait: &Wait) {
        if !self.due.remove(wait) {
            self.parked -= 1;
        }
    }
}
