use jobwright_core::job::NewJob;

use super::*;
use crate::store::drafts;
use crate::store::embedded::schema;

fn tagged(tag: &str) -> JobSpec {
    let NewJob { mut spec, .. } = drafts::job(0);
    spec.tags = vec![tag.to_owned()];
    spec
}

/// A database in `folder`, of which nothing is in memory.
fn opened(folder: &tempfile::TempDir) -> (Connection, Specs) {
    let db = schema::open_jobs(&folder.path().join("jobs.db")).unwrap();
    let specs = Specs::load(&db).unwrap();
    (db, specs)
}

fn is_number(column: &str) -> bool {
    column.parse::<i64>().is_ok()
}

/// What a column with `text` is read as.
fn read(db: &Connection, specs: &mut Specs, text: &str) -> JobSpec {
    db.query_row("SELECT ?1", [text], |row| specs.read_column(row, 0)).unwrap()
}

#[test]
fn a_specification_is_shared_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut specs) = opened(&folder);
    let [a, b] = ["a", "b"].map(tagged);
    let columns = [&a, &b, &a, &b, &a].map(|spec| specs.column(&db, spec).unwrap());
    assert_eq!(
        columns.each_ref().map(|column| is_number(column)),
        [false, false, true, true, true]
    );
    assert_eq!(columns[2], columns[4]);
    for (column, spec) in columns.iter().zip([&a, &b, &a, &b, &a]) {
        assert_eq!(read(&db, &mut specs, column), *spec);
    }
}

#[test]
fn a_shared_specification_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut specs) = opened(&folder);
    let spec = tagged("a");
    let [_, column] = [(), ()].map(|()| specs.column(&db, &spec).unwrap());
    drop(db);
    let (db, mut specs) = opened(&folder);
    assert_eq!(read(&db, &mut specs, &column), spec);
    assert_eq!(specs.column(&db, &spec).unwrap(), column);
}

#[test]
fn long_specifications_are_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut specs) = opened(&folder);
    let spec = tagged(&"a".repeat(MOST_BYTES));
    for _ in 0..3 {
        assert!(!is_number(&specs.column(&db, &spec).unwrap()));
    }
}

#[test]
fn when_there_is_no_room_a_start_removes_those_that_no_job_has() {
    let folder = tempfile::tempdir().unwrap();
    let (mut db, mut specs) = opened(&folder);
    let filling = db.transaction().unwrap();
    for number in 0..MOST_SHARED {
        let spec = tagged(&number.to_string());
        for _ in 0..2 {
            specs.column(&filling, &spec).unwrap();
        }
    }
    let late = tagged("late");
    for _ in 0..3 {
        assert!(!is_number(&specs.column(&filling, &late).unwrap()), "there is no room");
    }
    let used = specs.column(&filling, &tagged("7")).unwrap();
    let sql =
        "INSERT INTO job (id, spec, payload_bytes, created_at, state, attempt, failures, lost,
                 refused, scheduled_at, attempts) VALUES (x'00', ?1, 0, 0, 0, 0, 0, 0, 0, 0, '[]')";
    filling.execute(sql, [&used]).unwrap();
    filling.commit().unwrap();
    drop(db);
    let (db, mut specs) = opened(&folder);
    assert_eq!(read(&db, &mut specs, &used), tagged("7"));
    let count: i64 =
        db.query_row("SELECT count(*) FROM shared_spec", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
    let [_, column] = [(), ()].map(|()| specs.column(&db, &late).unwrap());
    assert!(is_number(&column), "there is room again");
}
