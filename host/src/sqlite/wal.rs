//! Checks a write-ahead log that a crash has left for damage, before SQLite recovers from it and
//! overwrites it.
//!
//! SQLite reads a log up to the first incomplete frame, which is the end after a crash, and treats
//! a log with an incomplete header as empty. It reports neither. After a crash no commit lies
//! behind such an end: a commit is the last frame that a process writes of its transaction. One
//! that does was written before the damage, or, if the machine lost power, in part and was never
//! acknowledged. These cases cannot be distinguished, so the log is copied first.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jobwright_core::plugin::Digest;

/// The sizes of the headers of the log and of each frame.
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The first word of a log, except for its last bit, which is the byte order of its checksums.
const MAGIC: u32 = 0x377f_0682;

/// Pages of the store's databases: SQLite's default.
const PAGE_BYTES: usize = 4096;

/// Copies of damaged logs that are kept, the latest: each can have 64 MiB, the maximum length of a
/// log, and repeated damage means that the disk must be replaced.
const COPIES: usize = 3;

/// The damage of a log.
#[derive(Debug)]
pub(crate) struct Damage {
    /// The number of commits that SQLite ignores.
    pub(crate) commits: usize,
    /// The path of the copy.
    pub(crate) copy: PathBuf,
}

/// Copies the log of the database at `path` if it may hold commits behind damage.
///
/// # Errors
/// If it cannot be read, or is damaged and cannot be copied.
pub(crate) fn set_aside_if_damaged(path: &Path) -> anyhow::Result<Option<Damage>> {
    let log = path.with_extension("db-wal");
    let commits = match File::open(&log).and_then(lost_commits) {
        Ok(0) => return Ok(None),
        Ok(commits) => commits,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| {
                format!("cannot read the write-ahead log of the job store, {}", log.display())
            });
        }
    };
    let copy = set_aside(&log).with_context(|| {
        format!(
            "the write-ahead log {} is damaged and cannot be copied before it is overwritten: \
             free some disk space in its directory, or copy it elsewhere and remove it",
            log.display()
        )
    })?;
    Ok(Some(Damage { commits, copy }))
}

/// The commits in a log that SQLite would ignore.
fn lost_commits(log: File) -> io::Result<usize> {
    let mut log = BufReader::new(log);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut log, &mut header)? {
        return Ok(0); // less than a header was never a log with commits
    }
    let mut sum = Checksum::begin(&header);
    let (salts, page_bytes) = match sum {
        Some(_) => (Some(&header[16..24]), number(&header[8..12]) as usize),
        None => (None, PAGE_BYTES),
    };
    let (mut lost, mut frame, mut page) = (0, [0; FRAME_HEADER_BYTES], vec![0; page_bytes]);
    while fill(&mut log, &mut frame)? {
        let whole = fill(&mut log, &mut page)?;
        // Frames with other salts were left by an earlier use of the file.
        let is_current = salts.is_none_or(|salts| &frame[8..16] == salts);
        // After the first frame with a wrong checksum, all checksums are wrong.
        sum = sum.filter(|_| whole && is_current);
        sum = sum.and_then(|sum| sum.follows(&frame, &page));
        // The size of the database after a commit; 0 of any other frame. One whose page has not come
        // whole into the file is what the death of a process leaves.
        if sum.is_none() && whole && is_current && number(&frame[4..8]) > 0 {
            lost += 1;
        }
    }
    Ok(lost)
}

/// The cumulative checksum of a log up to a frame.
#[derive(Debug, Clone, Copy)]
struct Checksum {
    word: fn([u8; 4]) -> u32,
    state: (u32, u32),
}

impl Checksum {
    /// The checksum of the header; `None` if the header is damaged.
    fn begin(header: &[u8; HEADER_BYTES]) -> Option<Self> {
        let magic = number(&header[..4]);
        let word = if magic & 1 == 0 { u32::from_le_bytes } else { u32::from_be_bytes };
        let sum = Self { word, state: (0, 0) }.with(&header[..24]);
        let page_bytes = number(&header[8..12]);
        let is_whole = magic & !1 == MAGIC
            && page_bytes.is_power_of_two()
            && (512..=65536).contains(&page_bytes)
            && sum.is(&header[24..32]);
        is_whole.then_some(sum)
    }

    /// The checksum up to and including a frame; `None` if the frame does not match it.
    fn follows(self, frame: &[u8; FRAME_HEADER_BYTES], page: &[u8]) -> Option<Self> {
        let sum = self.with(&frame[..8]).with(page);
        (sum.is(&frame[16..24]) && number(&frame[..4]) > 0).then_some(sum)
    }

    fn with(mut self, bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        for pair in words.chunks_exact(2) {
            let (a, b) = self.state;
            let a = a.wrapping_add((self.word)(pair[0])).wrapping_add(b);
            let b = b.wrapping_add((self.word)(pair[1])).wrapping_add(a);
            self.state = (a, b);
        }
        self
    }

    fn is(&self, written: &[u8]) -> bool {
        self.state == (number(&written[..4]), number(&written[4..]))
    }
}

/// Copies `log` to a file in the same directory that is named by its contents, so that a start that fails and
/// is tried again makes no other one.
fn set_aside(log: &Path) -> anyhow::Result<PathBuf> {
    let prefix = format!("{}.damaged-", log.display());
    let digest = Digest::of_all(&mut File::open(log)?)?.hex();
    let copy = PathBuf::from(format!("{prefix}{}", &digest[..12]));
    let mut others = Vec::new();
    for entry in fs::read_dir(log.parent().unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let is_copy = entry.path().to_string_lossy().starts_with(&prefix);
        if is_copy && entry.path() != copy {
            others.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    others.sort();
    let surplus = (others.len() + 1).saturating_sub(COPIES);
    for (_, oldest) in others.into_iter().take(surplus) {
        fs::remove_file(oldest)?;
    }
    fs::copy(log, &copy)?;
    File::open(&copy)?.sync_all()?;
    Ok(copy)
}

/// Fills the buffer; returns false at the end of the file.
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

    /// A database with ten commits in its log, as a crash leaves it, after `harm` was done to the
    /// log; answers what is told of it.
    fn crashed(harm: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, Option<Damage>) {
        let (written, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let db = Connection::open(written.path().join("jobs.db")).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x);").unwrap();
        for n in 0..9 {
            db.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        }
        std::fs::copy(written.path().join("jobs.db"), left.path().join("jobs.db")).unwrap();
        let mut log = std::fs::read(written.path().join("jobs.db-wal")).unwrap();
        harm(&mut log);
        std::fs::write(left.path().join("jobs.db-wal"), log).unwrap();
        let damage = set_aside_if_damaged(&left.path().join("jobs.db")).unwrap();
        (left, damage)
    }

    #[test]
    fn a_whole_log_and_one_that_ends_early_lose_nothing() {
        assert!(crashed(|_| ()).1.is_none());
        assert!(crashed(|log| log.truncate(log.len() - 5000)).1.is_none());
        assert!(crashed(|log| log.truncate(10)).1.is_none());
        assert!(crashed(Vec::clear).1.is_none());
        let folder = tempfile::tempdir().unwrap();
        assert!(set_aside_if_damaged(&folder.path().join("jobs.db")).unwrap().is_none());
    }

    #[test]
    fn frames_of_an_earlier_use_of_the_log_are_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x);").unwrap();
        for n in 0..9 {
            db.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        }
        db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        db.execute("INSERT INTO t VALUES (9)", []).unwrap();
        assert!(set_aside_if_damaged(&path).unwrap().is_none());
    }

    #[test]
    fn commits_behind_damage_are_counted_and_copied() {
        let mut harmed = vec![];
        let (_folder, damage) = crashed(|log| {
            let middle = log.len() / 2;
            log[middle] ^= 1;
            harmed.clone_from(log);
        });
        let damage = damage.expect("it is damaged");
        assert!((3..10).contains(&damage.commits), "{damage:?}");
        assert_eq!(std::fs::read(damage.copy).unwrap(), harmed);
    }

    #[test]
    fn behind_a_damaged_header_every_commit_is_counted() {
        for at in 0..HEADER_BYTES {
            let (_folder, damage) = crashed(|log| log[at] ^= 0x10);
            assert_eq!(damage.map(|damage| damage.commits), Some(10), "byte {at}");
        }
    }

    #[test]
    fn the_number_of_copies_is_bounded() {
        let (folder, _) = crashed(|log| log[20] ^= 1);
        let path = folder.path().join("jobs.db");
        for byte in 0..10 {
            let mut log = std::fs::read(path.with_extension("db-wal")).unwrap();
            log[10] = byte;
            std::fs::write(path.with_extension("db-wal"), log).unwrap();
            for _ in 0..2 {
                let damage = set_aside_if_damaged(&path).unwrap().expect("it is damaged");
                assert!(damage.copy.exists());
            }
        }
        let is_copy =
            |file: std::fs::DirEntry| file.file_name().to_string_lossy().contains(".damaged-");
        let files = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(files.flatten().map(is_copy).filter(|is| *is).count(), COPIES);
    }
}
