//! The location of a history's store, and what survives a crash.

use std::path::Path;
use std::sync::Arc;

use jobwright::store::embedded::EmbeddedStore;
use jobwright::store::memory::MemoryStore;
use jobwright_core::clock::Timestamp;
use jobwright_core::store::Store;
use tempfile::TempDir;

use super::history::LIMITS;

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    /// Survives the hosts, like a store that several hosts share.
    Memory,
    /// Ends with its host, and is opened again from the files on disk.
    Sqlite,
}

/// The directories of a store.
pub(super) struct Place(Option<TempDir>, Option<TempDir>);

impl Place {
    /// New directories, with an empty store.
    pub(super) fn new(driver: Driver, now: Timestamp) -> anyhow::Result<(Self, Arc<dyn Store>)> {
        if driver == Driver::Memory {
            return Ok((Self(None, None), Arc::new(MemoryStore::new(LIMITS))));
        }
        let directory = directory()?;
        let store = EmbeddedStore::open(directory.path(), LIMITS, now)?;
        Ok((Self(Some(directory), None), Arc::new(store)))
    }

    /// Whether the store survives its process.
    pub(super) fn is_durable(&self) -> bool {
        self.0.is_some()
    }

    /// The store as the next process finds it if this one is killed now; `None` for the store in
    /// memory.
    pub(super) fn reopened(&mut self, now: Timestamp) -> anyhow::Result<Option<Arc<dyn Store>>> {
        let Some(old) = self.0.take() else { return Ok(None) };
        let directory = directory()?;
        for file in old.path().read_dir()? {
            let file = file?;
            // The index beside a write-ahead log is shared memory of the process that died.
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                std::fs::copy(file.path(), directory.path().join(file.file_name()))?;
            }
        }
        let store = EmbeddedStore::open(directory.path(), LIMITS, now)?;
        (self.0, self.1) = (Some(directory), Some(old));
        Ok(Some(Arc::new(store)))
    }

    /// Removes the files of a store that was replaced.
    pub(super) fn close(&mut self, store: Arc<dyn Store>) -> anyhow::Result<()> {
        drop(store);
        Ok(self.1.take().map_or(Ok(()), TempDir::close)?)
    }
}

/// On a file system in memory if the machine has one: disks are not tested here.
fn directory() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }
}
