//! Keeps what a host writes, and what its memory holds, from other users of the machine.
//!
//! Owns the modes of files and directories: 0600 and 0700. A directory that cannot be made so is
//! refused with an error that says what to do.

use std::fs::{self, File};
use std::io;
use std::path::Path;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// The mode bits that let the group or others in.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// What the root of a file system may hold besides the files of its owner: `mkfs.ext4` makes it.
#[cfg(unix)]
const OF_FILE_SYSTEM: &str = "lost+found";

/// Whether this process is a host's alone, and not of a program that embeds one.
#[cfg(unix)]
static IS_RESTRICTED: AtomicBool = AtomicBool::new(false);

/// Makes files that this process creates readable by its user only, and keeps its memory, which holds
/// secrets and payloads, out of core dumps. [`protect_memory`] does the rest.
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

/// Keeps the memory of a process that was [restricted](restrict_process) from debuggers of the same user,
/// and out of core dumps that are piped to a program, which the limit does not bind. For a process that has
/// made its runtime, and has opened no secrets yet: `/proc/self/pagemap`, which wasmtime reads to reset a
/// guest's memory, cannot be opened after that.
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

/// There is no such protection here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn protect_memory() -> io::Result<()> {
    Ok(())
}

/// There is no such restriction here.
#[cfg(not(unix))]
pub(crate) fn restrict_process() -> io::Result<()> {
    Ok(())
}

/// Makes the directory at `path` if it is missing, and gives it the mode 0700 if others can reach it.
/// `is_ours` tells which of its entries a host made: a directory that holds other directories and
/// nothing of a host's, as `/var/lib` does, is refused rather than changed: its name may be a mistake.
///
/// # Errors
/// If it belongs to another user, or cannot be given that mode; with what to do.
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

/// Makes the directory at `path` if it is missing.
#[cfg(not(unix))]
pub(crate) fn make_directory(path: &Path, _: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    Ok(fs::create_dir_all(path)?)
}

/// A temporary folder that its owner alone can reach; removed when dropped.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn temporary_folder() -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir()
}

/// Takes from the group and from others what they may do with the file or directory at `path`, and
/// with all that is in it. Symbolic links are left alone: what they point to is not the host's.
///
/// # Errors
/// If something belongs to another user; with its path, and what to do.
#[cfg(unix)]
pub(crate) fn tighten(path: &Path) -> anyhow::Result<()> {
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

/// Refuses an open file that another user owns, or may write: what is in it may be theirs.
///
/// # Errors
/// With its owner or mode, and what to do.
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

/// Refuses an open file that the group or others may read or write: an operator who copied a secret
/// there learns that it may be known.
///
/// # Errors
/// With its mode, and what to do.
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

/// Modes are another system's.
#[cfg(not(unix))]
pub(crate) fn check_mode(_: &File) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
