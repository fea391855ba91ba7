//! The data directory, and the lock that lets one host at a time use it. The lock is also the lease
//! on every job that runs there: whoever holds it knows that nobody else runs any. And how a small file
//! is written there so that a crash leaves nothing half done.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A locked data directory; unlocked when dropped, also by the death of the process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, readable by its owner only, and locks it.
    ///
    /// # Errors
    /// If it cannot be made or written, or another host uses it.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot use the data directory {}", path.display());
        make(path).with_context(failed)?;
        let mut options = OpenOptions::new();
        let lock = options.read(true).write(true).create(true).truncate(false);
        let mut lock = lock.open(path.join("lock")).with_context(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message: an unreadable holder is still a holder.
                let _ = lock.read_to_string(&mut holder);
                bail!(
                    "the data directory {} is in use by another host (process {}): stop that one, \
                     or use another directory",
                    path.display(),
                    if holder.trim().is_empty() { "unknown" } else { holder.trim() }
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        if let Err(error) = sign(&mut lock)
            && error.kind() != ErrorKind::StorageFull
        {
            // On a full disk only the message to the next who asks is poorer.
            return Err(error).with_context(failed);
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes down who holds the lock, for the message to the next who asks.
fn sign(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id())
}

fn make(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file entirely or not at all, readable by its owner only, and on disk when this returns.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Of mode 600, as all temporary files are.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(path)
}

/// Makes the name of a file durable, as `sync_all` makes its bytes.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_host_is_refused_and_told_who_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::lock(folder.path()).unwrap();
        let error = DataDir::lock(folder.path()).expect_err("it is locked").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(DataDir::lock(folder.path()).is_ok());
    }
}
