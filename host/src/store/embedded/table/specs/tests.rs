use jobwright_core::job::NewJob;

use super::*;
use crate::store::drafts;
use crate::store::embedded::schema;

fn exporting(entrypoint: &str) -> JobSpec {
    let NewJob { spec, .. } = drafts::job(0);
    JobSpec { entrypoint: Some(entrypoint.to_owned()), ..JobSpec::clone(&spec) }
}

/// The same of a tenant.
fn of(tenant: usize, entrypoint: &str) -> JobSpec {
    JobSpec { tenant: format!("t{tenant}").parse().unwrap(), ..exporting(entrypoint) }
}

/// Shares `count` specifications of a tenant.
fn share(db: &Connection, specs: &mut Specs, tenant: usize, count: usize) {
    for n in 0..count {
        let spec = of(tenant, &n.to_string());
        for _ in 0..2 {
            column(db, specs, &spec);
        }
    }
}

fn is_shared(db: &Connection, specs: &mut Specs, spec: &JobSpec) -> bool {
    column(db, specs, spec);
    is_number(&column(db, specs, spec))
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

/// The specification that is read from a column with `text`.
fn read(db: &Connection, specs: &mut Specs, text: &str) -> JobSpec {
    let spec = db.query_row("SELECT ?1", [text], |row| specs.read_column(row, 0)).unwrap();
    JobSpec::clone(&spec)
}

/// The contents of the column of a new job with `spec`.
fn column(db: &Connection, specs: &mut Specs, spec: &JobSpec) -> String {
    specs.column(db, &mut Arc::new(spec.clone())).unwrap().text().to_owned()
}

#[test]
fn a_specification_is_shared_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut specs) = opened(&folder);
    let [a, b] = ["a", "b"].map(exporting);
    let columns = [&a, &b, &a, &b, &a].map(|spec| column(&db, &mut specs, spec));
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
    let spec = exporting("a");
    let [_, text] = [(), ()].map(|()| column(&db, &mut specs, &spec));
    drop(db);
    let (db, mut specs) = opened(&folder);
    assert_eq!(read(&db, &mut specs, &text), spec);
    assert_eq!(column(&db, &mut specs, &spec), text);
}

#[test]
fn long_specifications_are_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut specs) = opened(&folder);
    let spec = exporting(&"a".repeat(MOST_BYTES));
    for _ in 0..3 {
        assert!(!is_number(&column(&db, &mut specs, &spec)));
    }
}

#[test]
fn strings_of_a_submitter_are_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut specs) = opened(&folder);
    let plain = exporting("a");
    for spec in [
        JobSpec { tags: vec!["tag".to_owned()], ..plain.clone() },
        JobSpec { args: vec!["argument".to_owned()], ..plain.clone() },
        JobSpec { env: [("NAME".to_owned(), "value".to_owned())].into(), ..plain.clone() },
    ] {
        assert!(!is_shared(&db, &mut specs, &spec));
    }
    assert!(is_shared(&db, &mut specs, &plain));
}

#[test]
fn a_tenant_that_shares_many_leaves_room_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut specs) = opened(&folder);
    db.execute_batch("BEGIN").unwrap();
    share(&db, &mut specs, 0, MOST_OF_TENANT);
    assert!(!is_shared(&db, &mut specs, &of(0, "late")));
    assert!(is_shared(&db, &mut specs, &of(1, "late")));
}

#[test]
fn when_there_is_no_room_a_start_removes_unused_specifications() {
    let folder = tempfile::tempdir().unwrap();
    let (mut db, mut specs) = opened(&folder);
    let filling = db.transaction().unwrap();
    for tenant in 0..MOST_SHARED / MOST_OF_TENANT {
        share(&filling, &mut specs, tenant, MOST_OF_TENANT);
    }
    let late = exporting("late");
    assert!(!is_shared(&filling, &mut specs, &late), "there is no room");
    let used = column(&filling, &mut specs, &of(0, "7"));
    let sql =
        "INSERT INTO job (id, spec, payload_bytes, created_at, state, attempt, failures, lost,
                 refused, scheduled_at, attempts) VALUES (x'00', ?1, 0, 0, 0, 0, 0, 0, 0, 0, '[]')";
    filling.execute(sql, [&used]).unwrap();
    filling.commit().unwrap();
    drop(db);
    let (db, mut specs) = opened(&folder);
    assert_eq!(read(&db, &mut specs, &used), of(0, "7"));
    let count = "SELECT count(*) FROM shared_spec";
    let count: i64 = db.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
    assert!(is_shared(&db, &mut specs, &late), "there is room again");
}

#[test]
fn a_shared_specification_is_once_in_memory_whichever_job_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let (db, mut specs) = opened(&folder);
    let [a, b] = ["a", "b"].map(exporting);
    for spec in [&a, &b, &a, &b] {
        column(&db, &mut specs, spec);
    }
    let [first, _, second] = [&a, &b, &a].map(|spec| {
        let mut spec = Arc::new(spec.clone());
        assert!(specs.column(&db, &mut spec).unwrap().is_shared());
        spec
    });
    assert!(Arc::ptr_eq(&first, &second));
}
