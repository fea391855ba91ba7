//! The entries of the queue: the scheduling facts of each unfinished job.

use std::sync::Arc;
use std::time::Duration;

use super::order::due::Due;
use super::order::place::Place;
use crate::capacity::Permit;
use crate::clock::Timestamp;
use crate::hold::JobLabels;
use crate::host::HostId;
use crate::job::id::JobId;
use crate::job::lifecycle::Lifecycle;
use crate::job::priority::Priority;
use crate::job::state::JobState;

/// The scheduling facts of an unfinished job.
#[derive(Debug)]
pub struct Entry {
    /// Its priority.
    pub priority: Priority,
    /// The memory of the host that an attempt may use, in bytes.
    pub memory_bytes: u64,
    /// The length of its payload.
    pub payload_bytes: u64,
    /// Its state.
    pub lifecycle: Lifecycle,
    /// The number of its row, which is also the order of arrival.
    pub row: u64,
    /// Its place, given back when the entry goes; it names the tenant, queue and plugin.
    pub permit: Permit,
}

/// The state of an unfinished job, or of one that was just finalized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its tenant, queue and plugin.
    pub labels: Arc<JobLabels>,
    /// The length of its payload.
    pub payload_bytes: u64,
    /// Its state.
    pub lifecycle: Lifecycle,
    /// The number of its row.
    pub row: u64,
}

impl Entry {
    /// Its tenant, queue and plugin.
    #[must_use]
    pub fn labels(&self) -> &Arc<JobLabels> {
        self.permit.labels()
    }

    /// The standing of the job.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            labels: self.labels().clone(),
            payload_bytes: self.payload_bytes,
            lifecycle: self.lifecycle.clone(),
            row: self.row,
        }
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) entry: Entry,
    /// Until when the lease of a running job holds.
    pub(super) expires_at: Timestamp,
}

/// The place of an unfinished job in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// Among the jobs that wait, due or not.
    Waiting,
    /// Among the jobs with an attempt in flight.
    Running,
}

impl Slot {
    /// The place of the job in the index; `None` if it is finalized.
    pub(super) fn home(&self) -> Option<Home> {
        match self.entry.lifecycle.state {
            JobState::Available => Some(Home::Waiting),
            JobState::Running => Some(Home::Running),
            JobState::Completed | JobState::Discarded | JobState::Cancelled | JobState::Expired => {
                None
            }
        }
    }

    /// The host that runs a running job.
    pub(super) fn host(&self) -> HostId {
        self.entry.lifecycle.host.unwrap_or(HostId::UNKNOWN)
    }

    /// Its place in the order of claims.
    pub(super) fn place(&self, head_start: Duration) -> Place {
        let Entry { lifecycle, priority, row, .. } = &self.entry;
        Place::new(lifecycle.scheduled_at, *priority, head_start, *row)
    }

    pub(super) fn due(&self, id: JobId) -> Due {
        Due::new(id, &self.entry.lifecycle, self.entry.memory_bytes)
    }

    pub(super) fn wait(&self, id: JobId) -> super::waiting::Wait {
        super::waiting::Wait {
            at: self.entry.lifecycle.scheduled_at,
            arrival: self.entry.row,
            id,
            on_wall: self.entry.lifecycle.on_wall,
        }
    }
}
