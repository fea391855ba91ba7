//! Which parts a data directory has had, so that a host misses one that got lost.
//!
//! A part that is missing looks like one that never was: without its keys a host would let everyone
//! in, without its secrets jobs would fail one by one. So there is an empty file in `had/` for each
//! part that there once was, apart from what it tells of. An operator who means to go on without a
//! part removes that file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::sync_folder;

/// A part that is missed when it is lost. Jobs are not among them: their store misses them itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// API keys, in `access.db` or in a file of the operator's: what makes a host demand keys.
    Keys,
    /// The plugins that were uploaded.
    Plugins,
    /// The secrets of all tenants.
    Secrets,
    /// What plugins keep from one job to the next.
    Values,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Plugins => "plugins",
            Self::Secrets => "secrets",
            Self::Values => "values",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Keys => "access.db",
            Self::Plugins => "plugins/index",
            Self::Secrets => "secrets.json",
            Self::Values => "values.db",
        }
    }

    fn mark(self, directory: &Path) -> PathBuf {
        directory.join(MARKS).join(self.word())
    }

    /// Whether the data directory has had this part.
    pub(crate) fn was_in(self, directory: &Path) -> bool {
        self.mark(directory).exists()
    }

    /// Notes that the data directory has this part. What cannot be noted is only logged: the part is
    /// in use, and the next start notes it again.
    pub(crate) fn note_in(self, directory: &Path) {
        let path = self.mark(directory);
        if let Err(error) = make(&path) {
            let (part, path) = (self.word(), path.display());
            tracing::warn!(%error, %path, "cannot record that this data directory has {part}");
        }
    }

    /// Refuses a data directory that has had this part and has lost its file.
    ///
    /// # Errors
    /// With what to do.
    pub(crate) fn refuse_if_lost(self, directory: &Path) -> anyhow::Result<()> {
        let file = directory.join(self.file());
        let is_there = fs::metadata(&file).is_ok_and(|about| about.is_dir() || about.len() > 0);
        anyhow::ensure!(
            is_there || !self.was_in(directory),
            "{} is missing or empty, but this data directory had {}: restore it from a backup, or \
             remove {} to continue without",
            file.display(),
            self.word(),
            self.mark(directory).display()
        );
        Ok(())
    }

    /// What an operator removes to go on without this part.
    pub(crate) fn shown_in(self, directory: &Path) -> String {
        self.mark(directory).display().to_string()
    }
}

/// The folder of the marks.
pub(super) const MARKS: &str = "had";

fn make(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    File::create(path)?;
    sync_folder(path)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_missed_once_it_was_there_until_its_mark_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::Values;
        part.refuse_if_lost(folder.path()).expect("it never was there");
        fs::write(folder.path().join("values.db"), "rows").unwrap();
        part.note_in(folder.path());
        part.note_in(folder.path());
        part.refuse_if_lost(folder.path()).expect("it is there");
        for harm in ["emptied", "removed"] {
            fs::write(folder.path().join("values.db"), "").unwrap();
            if harm == "removed" {
                fs::remove_file(folder.path().join("values.db")).unwrap();
            }
            let error = part.refuse_if_lost(folder.path()).expect_err(harm).to_string();
            assert!(error.contains("values.db") && error.contains("had/values"), "{error}");
        }
        fs::remove_file(folder.path().join("had/values")).unwrap();
        part.refuse_if_lost(folder.path()).expect("the operator goes on without");
    }
}
