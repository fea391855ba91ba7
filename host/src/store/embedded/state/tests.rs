use jobwright_core::capacity::CapacityLimits;
use jobwright_core::job::Verdict;
use jobwright_core::ledger::Admission;
use jobwright_core::store::{Leased, Retention};

use super::*;
use crate::store::drafts::{NOW, claim, ending, job};

/// How many jobs the history holds before it has to make room.
const JOBS: usize = 16;
const PAYLOAD_BYTES: usize = 32 << 10;

/// A store in `folder` that keeps so much history.
fn opened(folder: &Path, history_bytes: u64) -> WriterState {
    let mut limits = CapacityLimits::default();
    limits.kept.history_bytes = history_bytes;
    let path = folder.join("jobs.db");
    WriterState::open(&path, Capacity::new(limits), Arc::default(), NOW).unwrap()
}

/// Jobs of a store, by hand.
impl WriterState {
    fn begun(&mut self, payload_bytes: usize) -> Leased {
        let admission = Admission { job: job(payload_bytes), permit: None };
        self.ledger.enqueue(vec![admission], NOW).unwrap();
        self.ledger.claim(&claim(), NOW).unwrap().leased.pop().expect("a job is due")
    }

    fn end(&mut self, leased: &Leased, verdict: Verdict, output_bytes: usize) {
        self.ledger.finish(&ending(leased, verdict, output_bytes), None, NOW).unwrap();
    }

    fn fill(&mut self, jobs: usize, payload_bytes: usize) {
        self.connection().execute_batch("BEGIN").unwrap();
        for _ in 0..jobs {
            let leased = self.begun(payload_bytes);
            self.end(&leased, Verdict::Complete, 0);
        }
        self.seal().unwrap();
        self.connection().execute_batch("COMMIT").unwrap();
    }

    fn history(&self) -> usize {
        let sql = "SELECT count(*) FROM history";
        let count: i64 = self.connection().query_row(sql, [], |row| row.get(0)).unwrap();
        usize::try_from(count).unwrap()
    }

    fn keeps_output_of(&self, leased: &Leased) -> bool {
        super::super::queries::output(self.connection(), leased.job.id).unwrap().is_some()
    }

    /// From now on the disk counts as full.
    fn fill_disk(&mut self, folder: &Path) {
        *self.ledger.rows_mut().floor_mut() = Floor::new(folder, u64::MAX);
    }
}

#[test]
fn on_a_full_disk_the_oldest_history_makes_room_before_an_output_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = opened(folder.path(), u64::MAX);
    store.fill(JOBS, PAYLOAD_BYTES);
    assert_eq!(store.history(), JOBS, "nothing has made room yet");
    let leased = store.begun(0);
    store.fill_disk(folder.path());
    let file_bytes = pages::file_bytes(store.connection()).unwrap();
    // Less than what those take that go at a time.
    store.end(&leased, Verdict::Complete, 5 * PAYLOAD_BYTES);
    let file_bytes_then = pages::file_bytes(store.connection()).unwrap();
    assert_eq!(file_bytes_then, file_bytes, "the file need not grow");
    assert!(store.keeps_output_of(&leased));
    assert_eq!(store.history(), JOBS - 8 + 1);
}

#[test]
fn on_a_full_disk_without_history_only_the_output_of_a_success_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = opened(folder.path(), u64::MAX);
    store.fill_disk(folder.path());
    let failed = store.begun(0);
    store.end(&failed, Verdict::Retry { at: NOW }, PAYLOAD_BYTES);
    assert!(!store.keeps_output_of(&failed));
    let claimed = store.ledger.claim(&claim(), NOW).unwrap();
    let completed = claimed.leased.into_iter().next().expect("it is due again");
    store.end(&completed, Verdict::Complete, PAYLOAD_BYTES);
    assert!(store.keeps_output_of(&completed));
}

#[test]
fn one_command_removes_a_bounded_part_of_the_history_and_later_ones_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = opened(folder.path(), u64::MAX);
    store.fill(600, 0);
    drop(store);
    let mut store = opened(folder.path(), 0);
    let nothing = Timestamp::MIN;
    let retention = Retention { completed_before: nothing, discarded_before: nothing, now: NOW };
    store.ledger.prune(&retention, 1).unwrap();
    assert_eq!(store.history(), 600 - 512, "as many as one command removes");
    store.ledger.prune(&retention, 1).unwrap();
    assert_eq!(store.history(), 0);
}
