//! The floor of free space: below it nothing new is accepted, so that what was accepted can still
//! be run, written down and read. For jobs, what the job store would use before it grows counts as free:
//! the free pages in its file, and the history, which gives way to new work. For what is kept elsewhere it
//! does not: else that could push the disk below what jobs need whatever the store can use again.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobwright_core::clock::{Timestamp, after};
use jobwright_core::limits::show_bytes;

use crate::disk::Floor;

/// How long an answer of the file system holds: what a fast disk takes in that time is a small part of
/// the floor.
const HOLDS: Duration = Duration::from_millis(50);

/// The part of the floor that is to stay free of the file system, whatever the store can use again: its
/// write-ahead log, outputs and logs of what runs are written there first.
const LEAST_PART: u64 = 4;

/// The file system under the data directory.
#[derive(Debug)]
pub(super) struct DiskFloor {
    floor: Floor,
    /// Until when which answer holds.
    seen: Mutex<(Timestamp, u64)>,
}

impl DiskFloor {
    /// That under `path`, of which `least_bytes` are to stay free.
    pub(super) fn new(path: &Path, least_bytes: u64) -> Self {
        Self { floor: Floor::new(path, least_bytes), seen: Mutex::new((Timestamp::MIN, 0)) }
    }

    /// Whether there is room for more, beside `spare` bytes that the store can use again.
    ///
    /// # Errors
    /// If there is less than the floor, with the figures.
    pub(super) fn check(&self, spare: u64, now: Timestamp) -> Result<(), String> {
        let (free, least) = (self.free_bytes(now), self.floor.least_bytes());
        if free >= least / LEAST_PART && free.saturating_add(spare) >= least {
            return Ok(());
        }
        let [free, spare, least] = [free, spare, least].map(show_bytes);
        Err(format!(
            "the disk under the data directory has {free} of free space, less than the {least} that \
             are kept for jobs which were accepted before, beside {spare} that the job store can use \
             again: make room there, or wait until jobs are over"
        ))
    }

    fn free_bytes(&self, now: Timestamp) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes it look again, too.
        if now >= seen.0 || after(now, HOLDS) < seen.0 {
            *seen = (after(now, HOLDS), self.floor.free_bytes());
        }
        seen.1
    }
}
