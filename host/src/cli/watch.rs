//! Waiting for files to change, by looking at them: that works on every file system, and for files
//! that are replaced, missing or not there yet.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How often to look. What stays as it is from one look to the next is written.
const LOOK: Duration = Duration::from_millis(200);

/// Some files, and how they were when they were last taken notice of.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    noticed: Option<Vec<Look>>,
}

/// What tells a file from its successor: its number, length and time; `None` if it is not there.
type Look = Option<(u64, u64, Option<SystemTime>)>;

impl Watch {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self { files, noticed: None }
    }

    /// Waits until the files are not as they were the last time, and are not being changed either.
    /// Does not wait the first time. May be dropped and called again.
    pub(super) async fn changed(&mut self) {
        let mut last = self.look();
        while self.noticed.is_some() {
            tokio::time::sleep(LOOK).await;
            let now = self.look();
            if now == last && self.noticed.as_ref() != Some(&now) {
                break;
            }
            last = now;
        }
        self.noticed = Some(last);
    }

    fn look(&self) -> Vec<Look> {
        let look = |file| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.ino(), metadata.len(), metadata.modified().ok()))
        };
        self.files.iter().map(look).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_noticed_at_once_and_again_when_it_changes_appears_or_goes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let mut watch = Watch::new(vec![file.clone()]);
        watch.changed().await;
        for change in [Some("one"), Some("two!"), None, Some("two!")] {
            match change {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            watch.changed().await;
        }
        let unchanged = tokio::time::timeout(LOOK * 3, watch.changed()).await;
        assert!(unchanged.is_err(), "nothing has changed since");
    }
}
