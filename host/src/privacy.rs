//! Protects files and memory of a host from other users of the machine.
//!
//! Owns the modes of files and directories: 0600 and 0700. A directory that cannot have that mode is
//! refused.

use std::fs::{self, File};
use std::io;
use std::path::Path;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// The mode bits that give access to the group and to others.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// A directory that `mkfs.ext4` creates in the root of a file system.
#[cfg(unix)]
const OF_FILE_SYSTEM: &str = "lost+found";

/// Whether [`restrict_process`] was called: not by programs that embed a host.
#[cfg(unix)]
static IS_RESTRICTED: AtomicBool = AtomicBool::new(false);

/// Restricts this process: files that it creates are readable only by its user, and its memory, which has
/// secrets and payloads, is not written to core files. [`protect_memory`] completes this.
///
/// # Errors
/// If the operating system refuses.
#[cfg(unix)]
pub(crate) fn restrict_process() -> io::Result<()> {
    use rustix::fs::Mode;
    use rustix::process::{Resource, Rlimit, setrlimit, umask};
    umask(Mode::RWXG | Mode::RWXO);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    IS_RESTRICTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Protects the memory of a [restricted](restrict_process) process from debuggers of the same user, and from
/// core dumps that are piped to a program, to which the limit of core files does not apply. Must be called
/// after the runtime is created and before secrets are opened: wasmtime reads `/proc/self/pagemap` to reset
/// the memory of guests, and that file cannot be opened afterwards.
///
/// # Errors
/// If the operating system refuses.
#[cfg(target_os = "linux")]
pub(crate) fn protect_memory() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if IS_RESTRICTED.load(Ordering::Relaxed) {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

/// No-op: this protection exists only on Linux.
#[cfg(not(target_os = "linux"))]
pub(crate) fn protect_memory() -> io::Result<()> {
    Ok(())
}

/// No-op: these restrictions exist only on Unix.
#[cfg(not(unix))]
pub(crate) fn restrict_process() -> io::Result<()> {
    Ok(())
}

/// Creates the directory at `path` if it is missing, and sets its mode to 0700 if others can access it.
/// `is_ours` returns whether a host created an entry. A directory that others can access, with directories
/// but without entries of a host, such as `/var/lib`, is refused: its name may be a mistake.
///
/// # Errors
/// If it belongs to another user, is refused, or its mode cannot be set.
#[cfg(unix)]
pub(crate) fn make_directory(path: &Path, is_ours: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let about = fs::metadata(path)?;
    check_owner(&about)?;
    let mode = about.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let (mut foreign, mut has_ours) = (None, false);
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_ours(&name) {
            has_ours = true;
        } else if name != OF_FILE_SYSTEM && entry.file_type()?.is_dir() {
            foreign = Some(name);
        }
    }
    if let (Some(name), false) = (foreign, has_ours) {
        anyhow::bail!(
            "other users can access it (mode {mode:04o}), and it has directories that are not the \
             host's, such as `{name}`: use a directory for the host alone, or chmod 700 this one"
        );
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    anyhow::ensure!(
        fs::metadata(path)?.mode() & OTHERS == 0,
        "other users can access it (mode {mode:04o}), and its file system ignores chmod: use a \
         directory on another file system"
    );
    Ok(())
}

/// Creates the directory at `path` if it is missing.
#[cfg(not(unix))]
pub(crate) fn make_directory(path: &Path, _: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    Ok(fs::create_dir_all(path)?)
}

/// Creates a temporary folder that only its owner can access. It is removed on drop.
///
/// # Errors
/// If it cannot be created.
pub(crate) fn temporary_folder() -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir()
}

/// Removes the permissions of the group and of others on the file or directory at `path`, and on
/// everything in it. Skips symbolic links: their targets are not files of the host. Also skips what is
/// removed meanwhile: a host that ends in the same directory removes SQLite's journal files.
///
/// # Errors
/// If an entry belongs to another user, or its mode cannot be set; with its path.
#[cfg(unix)]
pub(crate) fn tighten(path: &Path) -> anyhow::Result<()> {
    let is_gone = || fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    match tighten_existing(path) {
        Err(_) if is_gone() => Ok(()),
        result => result,
    }
}

#[cfg(unix)]
fn tighten_existing(path: &Path) -> anyhow::Result<()> {
    use anyhow::Context as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let about = fs::symlink_metadata(path)?;
    if about.is_symlink() {
        return Ok(());
    }
    check_owner(&about).with_context(|| format!("cannot use {}", path.display()))?;
    if about.mode() & OTHERS != 0 {
        let mode = if about.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot chmod {mode:o} {}", path.display()))?;
    }
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            tighten(&entry?.path())?;
        }
    }
    Ok(())
}

/// No-op: file modes exist only on Unix.
#[cfg(not(unix))]
pub(crate) fn tighten(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn check_owner(about: &fs::Metadata) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let (owner, user) = (about.uid(), rustix::process::geteuid().as_raw());
    anyhow::ensure!(
        owner == user,
        "it belongs to user {owner}, and this process runs as user {user}: chown it to {user}, or \
         use another path"
    );
    Ok(())
}

/// Refuses an open file that another user owns or can write: its content is not trusted.
///
/// # Errors
/// With the owner or mode.
#[cfg(unix)]
pub(crate) fn check_trusted(file: &File) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let about = file.metadata()?;
    check_owner(&about)?;
    let mode = about.mode() & 0o777;
    anyhow::ensure!(
        mode & 0o022 == 0,
        "its mode is {mode:o}, so users other than its owner can write it: remove it"
    );
    Ok(())
}

/// No-op: owners and modes exist only on Unix.
#[cfg(not(unix))]
pub(crate) fn check_trusted(_: &File) -> anyhow::Result<()> {
    Ok(())
}

/// Refuses an open file that the group or others can read or write, so that the operator learns that its
/// secrets may be known.
///
/// # Errors
/// With the mode.
#[cfg(unix)]
pub(crate) fn check_mode(file: &File) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = file.metadata()?.mode() & 0o777;
    anyhow::ensure!(
        mode & OTHERS == 0,
        "its mode is {mode:o}, so users other than its owner can read or write it: chmod 600 it"
    );
    Ok(())
}

/// No-op: modes exist only on Unix.
#[cfg(not(unix))]
pub(crate) fn check_mode(_: &File) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
