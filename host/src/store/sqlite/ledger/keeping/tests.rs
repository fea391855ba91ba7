use std::path::Path;

use jobwright_core::capacity::{Capacity, CapacityLimits};
use jobwright_core::retry::Verdict;
use jobwright_core::store::Leased;

use super::super::Admission;
use super::*;
use crate::disk::Floor;
use crate::store::drafts::{NOW, claim, ending, job};

/// Jobs in the history, which go in two passes; less than what is written between two looks at how much
/// there is.
const JOBS: usize = 2 * TRIM;
const PAYLOAD_BYTES: usize = 32 << 10;

/// A store in `folder` that keeps so much history.
fn ledger(folder: &Path, history_bytes: u64) -> Ledger {
    let mut limits = CapacityLimits::default();
    limits.kept.history_bytes = history_bytes;
    Ledger::open(&folder.join("jobs.db"), Capacity::new(limits), NOW).unwrap()
}

/// Jobs of a ledger, by hand.
impl Ledger {
    fn begun(&mut self, payload_bytes: usize) -> Leased {
        let admission = Admission { job: job(payload_bytes), permit: None };
        self.enqueue(vec![admission], NOW).unwrap();
        self.claim(&claim(), NOW).unwrap().leased.pop().expect("a job is due")
    }

    /// Fills the history.
    fn fill(&mut self) {
        self.db.execute_batch("BEGIN").unwrap();
        for _ in 0..JOBS {
            let leased = self.begun(PAYLOAD_BYTES);
            self.finish(&ending(&leased, Verdict::Complete, 0), NOW).unwrap();
        }
        self.db.execute_batch("COMMIT").unwrap();
        assert_eq!(self.count("history"), JOBS, "nothing has made room yet");
    }

    fn count(&self, table: &str) -> usize {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = self.db.query_row(&sql, [], |row| row.get(0)).unwrap();
        usize::try_from(count).unwrap()
    }

    /// Whether an output of an attempt is there.
    fn keeps_output_of(&self, leased: &Leased) -> bool {
        crate::store::sqlite::reader::output(&self.db, leased.job.id).unwrap().is_some()
    }
}

#[test]
fn on_a_full_disk_the_oldest_history_makes_room_before_an_output_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = ledger(folder.path(), u64::MAX);
    ledger.fill();
    let leased = ledger.begun(0);
    ledger.floor = Floor::new(folder.path(), u64::MAX);
    let file_bytes = table::file_bytes(&ledger.db).unwrap();
    // Less than what those take that go at a time.
    let end = ending(&leased, Verdict::Complete, 5 * PAYLOAD_BYTES);
    ledger.finish(&end, NOW).unwrap();
    assert_eq!(table::file_bytes(&ledger.db).unwrap(), file_bytes, "the file need not grow");
    assert!(ledger.keeps_output_of(&leased));
    assert_eq!(ledger.count("history"), JOBS - TRIM + 1);
}

#[test]
fn on_a_full_disk_without_history_only_what_a_success_left_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = ledger(folder.path(), u64::MAX);
    ledger.floor = Floor::new(folder.path(), u64::MAX);
    let again = Verdict::Retry { at: NOW };
    let failed = ledger.begun(0);
    ledger.finish(&ending(&failed, again, PAYLOAD_BYTES), NOW).unwrap();
    assert!(!ledger.keeps_output_of(&failed));
    let completed = ledger.claim(&claim(), NOW).unwrap().leased.pop().expect("it is due again");
    ledger.finish(&ending(&completed, Verdict::Complete, PAYLOAD_BYTES), NOW).unwrap();
    assert!(ledger.keeps_output_of(&completed));
}

#[test]
fn room_is_made_for_no_longer_than_its_time_and_the_rest_with_what_is_written_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = ledger(folder.path(), 0);
    ledger.fill();
    // Work for each job that goes: together they take longer than the time for all.
    let slow = "CREATE TEMP TRIGGER slow AFTER DELETE ON history BEGIN
                  SELECT max(x) FROM (
                    WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 300000)
                    SELECT x FROM n);
                END";
    ledger.db.execute_batch(slow).unwrap();
    ledger.trim().unwrap();
    assert_eq!(ledger.count("history"), JOBS - TRIM, "those that go at a time");
    ledger.grow(0).unwrap();
    assert_eq!(ledger.count("history"), JOBS - 2 * TRIM);
}
