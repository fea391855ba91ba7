use std::path::Path;

use super::*;
use crate::clock::Stopwatch;

struct Database(Connection);

impl State for Database {
    fn connection(&self) -> &Connection {
        &self.0
    }

    fn reload(&mut self) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// A writer that does not run, of a database in `folder` with something in its log.
fn writer(folder: &Path) -> Group<Database> {
    let path = folder.join("test.db");
    let db = Connection::open(&path).unwrap();
    db.busy_timeout(BUSY_TIMEOUT).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1);")
        .unwrap();
    let (_, waiting) = mpsc::channel(1);
    let health = Arc::new(Health::of("test"));
    Group::new(Database(db), waiting, health, &path).unwrap()
}

fn busy_timeout(writer: &Group<Database>) -> Duration {
    let db = writer.state.connection();
    let ms: u32 = db.query_row("PRAGMA busy_timeout", [], |row| row.get(0)).unwrap();
    Duration::from_millis(ms.into())
}

#[test]
fn a_log_that_a_reader_needs_is_not_waited_for_and_shortened_later() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(folder.path());
    let log_bytes = || std::fs::metadata(folder.path().join("test.db-wal")).unwrap().len();
    let reader = Connection::open(folder.path().join("test.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM t;").unwrap();
    let since = Stopwatch::start();
    writer.shorten_log();
    assert!(since.elapsed() < BUSY_TIMEOUT, "{:?}", since.elapsed());
    assert_eq!(busy_timeout(&writer), BUSY_TIMEOUT);
    assert!(log_bytes() > 0, "the reader needs it");
    drop(reader);
    writer.shorten_log();
    assert_eq!(log_bytes(), 0);
}

#[test]
fn a_checkpoint_that_fails_leaves_the_busy_timeout_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(folder.path());
    let db = writer.state.connection();
    // Within a transaction of the same connection a checkpoint is an error.
    db.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2);").unwrap();
    assert!(db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).is_err());
    writer.shorten_log();
    assert_eq!(busy_timeout(&writer), BUSY_TIMEOUT);
}

/// A command that counts as `effect`, and notes how many rows were committed when it was answered.
fn noting(
    effect: Effect,
    rows: &std::sync::mpsc::Sender<(Effect, i64)>,
    path: &Path,
) -> Command<Database> {
    let (rows, path) = (rows.clone(), path.to_owned());
    let apply = Box::new(move |state: &mut Database| {
        state.0.execute("INSERT INTO t VALUES (3)", [])?;
        let reply = move || {
            let db = Connection::open(path).unwrap();
            let count = db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
            rows.send((effect, count)).unwrap();
        };
        Ok(Box::new(reply) as Reply)
    });
    Command { effect, bytes: 0, apply }
}

#[test]
fn commands_without_a_sync_are_answered_before_many_with_one_are_applied() {
    for (synced, rows_at_the_answer) in [(FEW_SYNCED, 1 + 1 + FEW_SYNCED), (FEW_SYNCED + 1, 1 + 1)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let (note, noted) = std::sync::mpsc::channel();
        let effects = std::iter::repeat_n(Effect::Synced, synced).chain([Effect::Unsynced]);
        let path = folder.path().join("test.db");
        let group = effects.map(|effect| noting(effect, &note, &path)).collect();
        writer.write(group).unwrap();
        let first = noted.recv().unwrap();
        assert_eq!(first, (Effect::Unsynced, rows_at_the_answer as i64));
        assert_eq!(noted.try_iter().count(), synced);
    }
}
