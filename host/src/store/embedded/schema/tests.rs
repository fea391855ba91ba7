use jobwright_core::clock::Timestamp;
use jobwright_core::host::HostId;
use jobwright_core::job::{Dedup, DedupScope};
use jobwright_core::limits::Limits;
use jobwright_core::plugin::Digest;
use rusqlite::params;
use serde_json::json;

use super::*;
use crate::store::embedded::queries;

#[test]
fn keys_that_an_earlier_version_kept_with_answers_have_the_jobs_of_these() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let before: Vec<&str> = JOBS.iter().copied().take_while(|step| *step != DEDUP).collect();
    let earlier = open(&path, &before).unwrap();
    let answer = json!({
        "plugin": "p@1.2.3",
        "digest": Digest::of(b"wasm"),
        "queue": "q",
        "priority": 3,
        "max_attempts": 5,
        "limits": Limits::DEFAULT,
        "entrypoint": null,
        "args": ["a"],
        "deterministic": true,
        "created_at": "2026-11-29T01:35:59.9999Z",
        "scheduled_at": "2026-11-29T01:36:00Z",
    });
    for (key, answer) in [("acme\u{1f}k", answer.to_string()), ("broken", "no JSON".to_owned())] {
        let row = params![key, Digest::of(b"body").to_string(), [7_u8; 16], answer.as_bytes(), 9];
        earlier.execute("INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5)", row).unwrap();
    }
    drop(earlier);
    let db = open_jobs(&path).unwrap();
    let acme = "acme".parse().unwrap();
    let (key, fingerprint) = ("k".to_owned(), Digest::of(b"body"));
    let until = Timestamp::from_microsecond(9).unwrap();
    let dedup = Dedup { key, scope: DedupScope::Request, fingerprint, until };
    let used = queries::key(&db, &acme, &dedup).unwrap().expect("it is kept");
    assert_eq!(used.dedup, dedup);
    let (first, spec) = (&used.first, &used.first.spec);
    assert_eq!(first.id.as_bytes(), &[7; 16]);
    assert_eq!(first.created_at, "2026-11-29T01:35:59.9999Z".parse::<Timestamp>().unwrap());
    assert_eq!(first.lifecycle.scheduled_at, "2026-11-29T01:36:00Z".parse::<Timestamp>().unwrap());
    assert_eq!((&spec.tenant, spec.plugin.as_str()), (&acme, "p"));
    assert_eq!((spec.version.to_string(), spec.queue.as_str()), ("1.2.3".to_owned(), "q"));
    assert_eq!((spec.limits, spec.deterministic, spec.inject_env), (Limits::DEFAULT, true, true));
    let kept: i64 = db.query_row("SELECT count(*) FROM dedup", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1, "what cannot be read is not kept");
}

#[test]
fn jobs_that_an_earlier_version_left_running_are_on_an_unknown_host() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let before: Vec<&str> = JOBS.iter().copied().take_while(|step| *step != HOSTS).collect();
    let earlier = open(&path, &before).unwrap();
    earlier.execute("UPDATE host SET alive_at = 5, finished = 7", []).unwrap();
    for (seq, state) in [(1_u8, 0), (2, 1)] {
        let sql = "INSERT INTO job (seq, id, spec, payload_bytes, created_at, state, attempt, failures, \
                   lost, refused, scheduled_at, attempts) \
                   VALUES (?1, ?2, '{}', 0, 0, ?3, 1, 0, 0, 0, 0, '[]')";
        earlier.execute(sql, params![seq, [seq; 16], state]).unwrap();
    }
    drop(earlier);
    let db = open_jobs(&path).unwrap();
    let sql =
        "SELECT seq, alive_at, finished FROM job JOIN host ON number = held_by AND host.id = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let mut held = db.prepare(sql).unwrap();
    let held = held.query_map([HostId::UNKNOWN.as_bytes()], row).unwrap().map(Result::unwrap);
    assert_eq!(held.collect::<Vec<(i64, i64, i64)>>(), [(2, 5, 7)]);
    assert_eq!(queries::host(&db).unwrap().finished, 7);
}
