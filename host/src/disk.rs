//! The free space of a file system, and a floor for it. Below the floor, jobs and plugins are refused, and
//! optional data is not written: the remaining space is for accepted jobs, so that they can be run,
//! recorded and read.

use std::path::{Path, PathBuf};

/// The minimum free space of the file system of a path.
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

    /// Whether less is free now. Makes a system call.
    pub(crate) fn is_reached(&self) -> bool {
        self.least_bytes > 0 && self.free_bytes() < self.least_bytes
    }

    /// The free space, in bytes; the maximum if the file system does not report it.
    #[cfg(unix)]
    pub(crate) fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.path)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// The maximum, because the free space is not read on this system.
    #[cfg(not(unix))]
    pub(crate) fn free_bytes(&self) -> u64 {
        u64::MAX
    }
}
