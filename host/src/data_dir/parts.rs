//! Records which parts a data directory has had, so that a host notices a lost part.
//!
//! A lost part looks like one that never existed: without its keys, a host would accept all requests;
//! without its secrets, jobs would fail one by one. A marker, which is an empty file in `had/`, records
//! that a part exists. An operator who wants to continue without the part removes the marker.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::durable::sync_folder;

/// A part whose loss is noticed. Jobs are not among them: the job store notices their loss itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// API keys, in `access.db` or in the file of `api_keys`: with them, a host requires keys.
    Keys,
    /// The uploaded plugins.
    Plugins,
    /// The secrets of all tenants.
    Secrets,
    /// The stored values of plugins.
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

    /// Records that the data directory has this part. A failure is only logged, because the next start
    /// tries again.
    pub(crate) fn note_in(self, directory: &Path) {
        let path = self.mark(directory);
        if let Err(error) = make(&path) {
            let (part, path) = (self.word(), path.display());
            tracing::warn!(%error, %path, "cannot record that this data directory has {part}");
        }
    }

    /// Refuses a data directory that had this part and lost its file.
    ///
    /// # Errors
    /// If the part is lost.
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

    /// The path of the marker, which an operator removes to continue without this part.
    pub(crate) fn shown_in(self, directory: &Path) -> String {
        self.mark(directory).display().to_string()
    }
}

/// The folder of the markers.
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
    fn a_lost_part_is_refused_until_its_marker_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::Values;
        part.refuse_if_lost(folder.path()).expect("it never existed");
        fs::write(folder.path().join("values.db"), "rows").unwrap();
        part.note_in(folder.path());
        part.note_in(folder.path());
        part.refuse_if_lost(folder.path()).expect("it exists");
        for harm in ["emptied", "removed"] {
            fs::write(folder.path().join("values.db"), "").unwrap();
            if harm == "removed" {
                fs::remove_file(folder.path().join("values.db")).unwrap();
            }
            let error = part.refuse_if_lost(folder.path()).expect_err(harm).to_string();
            assert!(error.contains("values.db") && error.contains("had/values"), "{error}");
        }
        fs::remove_file(folder.path().join("had/values")).unwrap();
        part.refuse_if_lost(folder.path()).expect("the operator continues without it");
    }
}
