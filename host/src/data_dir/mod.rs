//! The data directory, and the lock that lets one host at a time use it. The lock is also the lease
//! on every job that runs there: its holder knows that no other host runs any. And how a small file
//! is written there so that a crash leaves nothing half done.
//!
//! Invariant: while a host uses the directory, no other user of the machine can reach it.

mod parts;
mod seed_key;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

pub(crate) use self::parts::Part;
pub(crate) use self::seed_key::seed_key;
use crate::privacy;

/// The lock file.
const LOCK: &str = "lock";

/// The databases, whose files beside begin with the same name.
const DATABASES: [&str; 4] = ["access.db", "jobs.db", "logs.db", "values.db"];

/// What else hosts keep here, but for `secrets.json`: that one is refused if others can read it.
const OTHERS: [&str; 5] = [LOCK, seed_key::FILE, "plugins", "compiled", parts::MARKS];

/// A locked data directory; unlocked when dropped, also by the death of the process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The directories that this start made, the innermost first.
    made: Vec<PathBuf>,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, takes from other users what they may do in it, and
    /// locks it.
    ///
    /// # Errors
    /// If it cannot be made, written or kept from other users, or another host uses it.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot use the data directory {}", path.display());
        let made = make(path).with_context(failed)?;
        make_private(path).with_context(failed)?;
        let mut lock = open_lock(&path.join(LOCK)).with_context(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message: an unreadable holder is still a holder.
                let _ = lock.read_to_string(&mut holder);
                bail!(
                    "the data directory {} is in use by another host (process {}): stop that host, or \
                     use another directory",
                    path.display(),
                    if holder.trim().is_empty() { "unknown" } else { holder.trim() }
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        if let Err(error) = sign(&mut lock)
            && error.kind() != ErrorKind::StorageFull
        {
            // On a full disk only the message to the next host is poorer.
            return Err(error).with_context(failed);
        }
        Ok(Self { path: path.to_owned(), made, _lock: lock })
    }

    /// Removes what a start that failed has made. A directory that was there before stays as it is.
    pub(crate) fn discard(self) {
        let Some((directory, parents)) = self.made.split_first() else { return };
        let removed = std::fs::remove_dir_all(directory)
            .and_then(|()| parents.iter().try_for_each(std::fs::remove_dir));
        if let Err(error) = removed {
            tracing::warn!(
                %error,
                path = %directory.display(),
                "cannot remove the data directory that a failed start created"
            );
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes down which process holds the lock, for the message to the next host.
fn sign(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id())
}

/// Makes the directory and those around it, as far as they are not there; returns those that were made, the
/// innermost first.
fn make(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let missing =
        path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    for place in (0..missing.len()).rev() {
        match builder.create(&missing[place]) {
            Ok(()) => {}
            // Another process made it meanwhile, and it is that one's.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => missing.truncate(place),
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// Makes the directory and what hosts have left in it readable by its owner only: earlier versions
/// made files of mode 0644, and service managers make directories of mode 0755.
fn make_private(path: &Path) -> anyhow::Result<()> {
    privacy::make_directory(path, |name| is_ours(name) || name == "secrets.json")?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if is_ours(&entry.file_name().to_string_lossy()) {
            privacy::tighten(&entry.path())?;
        }
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    OTHERS.contains(&name) || DATABASES.iter().any(|database| name.starts_with(database))
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Another user who could write here before may have left a link to a file of ours.
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        options.mode(0o600).custom_flags(no_link);
    }
    options.open(path)
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
    fn only_what_a_start_has_made_is_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/data");
        let made = DataDir::lock(&path).unwrap();
        std::fs::write(path.join("jobs.db"), "jobs").unwrap();
        made.discard();
        assert!(!folder.path().join("a").exists());
        std::fs::create_dir_all(&path).unwrap();
        DataDir::lock(&path).unwrap().discard();
        assert!(path.join("lock").exists(), "it was there before");
    }

    #[test]
    fn a_second_host_is_refused_and_told_who_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::lock(folder.path()).unwrap();
        let error = DataDir::lock(folder.path()).expect_err("it is locked").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(DataDir::lock(folder.path()).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("precious");
        std::fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join(LOCK)).unwrap();
        assert!(DataDir::lock(folder.path()).is_err());
        assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
    }
}
