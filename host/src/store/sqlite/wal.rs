//! A look at a write-ahead log that a crash has left: whether something in its middle is damaged.
//!
//! SQLite reads a log up to the first frame that is not whole and takes that for the end, as it is
//! after a crash. Then no commit lies behind it: a commit is the last frame that a process writes of
//! its transaction. One that does was written before the damage, or, if the machine lost power, in
//! part and was never acknowledged. SQLite says nothing of either.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Of the log, and of each frame before its page.
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The places, from 1, of all commits of the log beside the database at `path`; none if there is no
/// log. Whatever does not belong to the log as it is now is left out.
pub(super) fn commits(path: &Path) -> io::Result<Vec<u64>> {
    let log = path.with_extension("db-wal");
    let mut log = match File::open(log) {
        Ok(log) => BufReader::new(log),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut log, &mut header)? {
        return Ok(vec![]);
    }
    let (page_bytes, salts) = (number(&header[8..12]), &header[16..24]);
    let mut commits = Vec::new();
    let mut frame = [0; FRAME_HEADER_BYTES];
    for place in 1.. {
        if !fill(&mut log, &mut frame)? {
            break;
        }
        // The size of the database after a commit; 0 of any other frame.
        if &frame[8..16] == salts && number(&frame[4..8]) > 0 {
            commits.push(place);
        }
        log.seek_relative(page_bytes.into())?;
    }
    Ok(commits)
}

/// Whether there was as much as that to read.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A database with ten commits in its log, as a crash leaves it; answers its folder.
    fn crashed() -> tempfile::TempDir {
        let (written, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let db = Connection::open(written.path().join("jobs.db")).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x);").unwrap();
        for n in 0..9 {
            db.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        }
        for file in ["jobs.db", "jobs.db-wal"] {
            std::fs::copy(written.path().join(file), left.path().join(file)).unwrap();
        }
        left
    }

    /// How many of the commits SQLite does not find.
    fn lost(folder: &Path) -> usize {
        let path = folder.join("jobs.db");
        let commits = commits(&path).unwrap();
        let db = Connection::open(&path).unwrap();
        let found: u64 = super::super::schema::recovered_frames(&db).unwrap();
        commits.iter().filter(|place| **place > found).count()
    }

    #[test]
    fn a_whole_log_and_one_that_ends_early_lose_nothing() {
        let folder = crashed();
        assert_eq!(commits(&folder.path().join("jobs.db")).unwrap().len(), 10);
        assert_eq!(lost(folder.path()), 0);
        let folder = crashed();
        let log = folder.path().join("jobs.db-wal");
        let length = std::fs::metadata(&log).unwrap().len();
        File::options().write(true).open(&log).unwrap().set_len(length - 100).unwrap();
        assert!(lost(folder.path()) <= 1, "the last one, whose page is not whole");
        let folder = tempfile::tempdir().unwrap();
        assert!(commits(&folder.path().join("jobs.db")).unwrap().is_empty());
    }

    #[test]
    fn what_lies_behind_damage_is_counted() {
        let folder = crashed();
        let log = folder.path().join("jobs.db-wal");
        let mut bytes = std::fs::read(&log).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&log, bytes).unwrap();
        assert!(lost(folder.path()) >= 3);
    }
}
