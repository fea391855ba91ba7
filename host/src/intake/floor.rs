//! The floor of free disk space. Below it nothing new is accepted, so that accepted jobs can still
//! be run, recorded and read. For jobs, the space that the job store can reuse before it grows
//! counts as free: free pages in its file, and the history, which is trimmed. For other data, such
//! as plugins, only the free space of the file system counts.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobwright_core::clock::{Timestamp, after};
use jobwright_core::limits::show_bytes;

use crate::disk::Floor;

/// How long a measurement of the file system is reused: a fast disk can write only a small part of
/// the floor in that time.
const HOLDS: Duration = Duration::from_millis(50);

/// The part of the floor that must be free on the file system, regardless of reusable space: the
/// write-ahead log, outputs and logs of running jobs are written there first.
const LEAST_PART: u64 = 4;

/// The file system under the data directory.
#[derive(Debug)]
pub(super) struct DiskFloor {
    floor: Floor,
    /// The latest measurement, and until when it is reused.
    seen: Mutex<(Timestamp, u64)>,
}

impl DiskFloor {
    /// The file system under `path`, of which `least_bytes` must stay free.
    pub(super) fn new(path: &Path, least_bytes: u64) -> Self {
        Self { floor: Floor::new(path, least_bytes), seen: Mutex::new((Timestamp::MIN, 0)) }
    }

    /// Checks the free space; `spare` is the number of bytes that the store can reuse.
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
            "the disk under the data directory has {free} of free space, and the job store can \
             reuse {spare}: too little for the floor of {least} (`disk.free_bytes`), which is \
             reserved for accepted jobs, and of which a quarter must be free; free some space, \
             or wait until jobs are finalized"
        ))
    }

    fn free_bytes(&self, now: Timestamp) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back causes a new measurement too.
        if now >= seen.0 || after(now, HOLDS) < seen.0 {
            *seen = (after(now, HOLDS), self.floor.free_bytes());
        }
        seen.1
    }
}
