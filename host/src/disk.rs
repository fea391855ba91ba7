//! The free space of the disk under the data directory, and the floor of it. Below the floor nothing
//! new is accepted, and nothing is written that can be done without: what is left is for jobs that
//! were accepted before, so that they can be run, written down and read.

use std::path::{Path, PathBuf};

/// So much of the file system under a path is to stay free.
#[derive(Debug, Clone)]
pub(crate) struct Floor {
    path: PathBuf,
    least_bytes: u64,
}

impl Floor {
    pub(crate) fn new(path: &Path, least_bytes: u64) -> Self {
        Self { path: path.to_owned(), least_bytes }
    }

    pub(crate) fn least_bytes(&self) -> u64 {
        self.least_bytes
    }

    /// Whether less than that is free, at this moment. Costs a call of the system.
    pub(crate) fn is_reached(&self) -> bool {
        self.least_bytes > 0 && self.free_bytes() < self.least_bytes
    }

    /// All that there can be if the file system does not tell.
    #[cfg(unix)]
    pub(crate) fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.path)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// All that there can be: this system does not tell.
    #[cfg(not(unix))]
    pub(crate) fn free_bytes(&self) -> u64 {
        u64::MAX
    }
}
