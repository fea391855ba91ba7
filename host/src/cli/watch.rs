//! Waits for files to change, by polling: that works on every file system, and for files that are
//! replaced, removed or not created yet.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// The polling interval. A file that did not change for one interval is completely written.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Some files, and their states when a change was last reported.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    reported: Option<Vec<FileState>>,
}

/// The inode number, length and modification time of a file; `None` if it does not exist.
type FileState = Option<(u64, u64, Option<SystemTime>)>;

impl Watch {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self { files, reported: None }
    }

    /// Waits until the files differ from the last reported states, and are not being written. The first
    /// call returns at once. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let mut last = self.look();
        while self.reported.is_some() {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = self.look();
            if now == last && self.reported.as_ref() != Some(&now) {
                break;
            }
            last = now;
        }
        self.reported = Some(last);
    }

    fn look(&self) -> Vec<FileState> {
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
        let unchanged = tokio::time::timeout(POLL_INTERVAL * 3, watch.changed()).await;
        assert!(unchanged.is_err(), "nothing has changed since");
    }
}
