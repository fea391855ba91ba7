//! The data directory, and its lock: one host at a time uses a data directory, so that a host which holds
//! the lock knows that no other host runs its jobs. Also writes small files atomically.
//!
//! Invariant: while a host uses the directory, other users of the machine cannot access it.

mod durable;
mod parts;
mod seed_key;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

pub(crate) use self::durable::{sync_folder, write};
pub(crate) use self::parts::Part;
pub(crate) use self::seed_key::seed_key;
use crate::privacy;

/// The lock file.
const LOCK: &str = "lock";

/// The databases. The names of their journal files begin with these.
const DATABASES: [&str; 4] = ["access.db", "jobs.db", "logs.db", "values.db"];

/// The other files and folders of hosts, except `secrets.json`, which is refused if others can read it.
const OTHERS: [&str; 5] = [LOCK, seed_key::FILE, "plugins", "compiled", parts::MARKS];

/// A locked data directory. It is unlocked on drop, and when the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The directories that this start created, the innermost first.
    made: Vec<PathBuf>,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing, removes the permissions of other users, and locks it.
    ///
    /// # Errors
    /// If it cannot be created, written or made private, or another host uses it.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot use the data directory {}", path.display());
        let made = make(path).with_context(failed)?;
        make_private(path).with_context(failed)?;
        let mut lock = open_lock(&path.join(LOCK)).with_context(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder is only for the message.
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
        if let Err(error) = write_process_id(&mut lock)
            && error.kind() != ErrorKind::StorageFull
        {
            // On a full disk, only the message to another host lacks the process id.
            return Err(error).with_context(failed);
        }
        Ok(Self { path: path.to_owned(), made, _lock: lock })
    }

    /// Removes the directories that a failed start created. A directory that existed before stays as it is.
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

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes the id of this process into the lock file, for the error message of another host.
fn write_process_id(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id())
}

/// Creates the directory and its missing ancestors. Returns those that were created, the innermost first.
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
            // Another process created it meanwhile, and owns it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => missing.truncate(place),
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// Makes the directory and the files of hosts in it accessible only to the owner: earlier versions created
/// files of mode 0644, and service managers create directories of mode 0755.
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
        // A user who could write here before may have created a link to a file of the host's user.
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        options.mode(0o600).custom_flags(no_link);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_that_a_start_created_are_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/data");
        let made = DataDir::lock(&path).unwrap();
        std::fs::write(path.join("jobs.db"), "jobs").unwrap();
        made.discard();
        assert!(!folder.path().join("a").exists());
        std::fs::create_dir_all(&path).unwrap();
        DataDir::lock(&path).unwrap().discard();
        assert!(path.join("lock").exists(), "it existed before");
    }

    #[test]
    fn a_second_host_is_refused_with_the_process_id_of_the_first() {
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
