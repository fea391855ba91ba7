//! The floor of free space: below it nothing new is accepted, so that what was accepted can still
//! be run, written down and read.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobwright_core::clock::{Timestamp, after};
use jobwright_core::limits::show_bytes;

use super::error::ApiError;
use crate::disk::Floor;

/// How long an answer of the file system holds: it takes more than that to fill a disk.
const HOLDS: Duration = Duration::from_secs(1);

/// The file system under the data directory.
#[derive(Debug)]
pub(super) struct Disk {
    floor: Floor,
    /// Until when which answer holds.
    seen: Mutex<(Timestamp, u64)>,
}

impl Disk {
    /// That under `path`, of which `least_bytes` are to stay free.
    pub(super) fn new(path: PathBuf, least_bytes: u64) -> Self {
        Self { floor: Floor::new(&path, least_bytes), seen: Mutex::new((Timestamp::MIN, 0)) }
    }

    /// Whether there is room for more.
    ///
    /// # Errors
    /// If there is less than the floor, with both figures.
    pub(super) fn has_room(&self, now: Timestamp) -> Result<(), ApiError> {
        let free = self.free_bytes(now);
        if free >= self.floor.least_bytes() {
            return Ok(());
        }
        Err(ApiError::disk_low(format!(
            "the disk under the data directory has {} of free space, less than the {} that are \
             kept for jobs which were accepted before",
            show_bytes(free),
            show_bytes(self.floor.least_bytes())
        )))
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
