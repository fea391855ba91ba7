use std::path::Path;

use super::*;

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
    let db = Connection::open(folder.join("test.db")).unwrap();
    db.busy_timeout(BUSY_TIMEOUT).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1);")
        .unwrap();
    let (_, waiting) = mpsc::channel(1);
    let health = Arc::new(Health { store: "test", ..Health::default() });
    Group { state: Database(db), waiting, health, synchronous: Effect::Nothing }
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
