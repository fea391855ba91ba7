//! The counts of all queues.

use std::collections::BTreeMap;

use super::counts::QueueCounts;
use super::index::Queue;
use crate::capacity::limits::CapacityLimits;
use crate::clock::{Timestamp, until};
use crate::hold::Hold;

impl Queue {
    /// The counts of every queue that has unfinished jobs or is paused, by tenant and name, as of the latest
    /// [pass of time](Self::pass_time).
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
