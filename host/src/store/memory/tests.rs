use jobwright_core::retry::Verdict;

use super::super::drafts::{NOW, claim, ending, job};
use super::*;

/// Claims the next job and completes it.
async fn complete(store: &MemoryStore) {
    let leased = store.claim(claim(), NOW).await.unwrap().leased.pop().expect("a job is due");
    store.finish(ending(&leased, Verdict::Complete, 10), NOW).await.unwrap();
}

#[tokio::test]
async fn the_list_of_jobs_that_are_over_holds_no_others() {
    let store = MemoryStore::new(CapacityLimits::default());
    let over = || store.lock().over.len();
    let job = job(10);
    let id = job.id;
    store.enqueue(vec![job], NOW).await.unwrap();
    for _ in 0..3 {
        complete(&store).await;
        assert_eq!(over(), 1);
        assert_eq!(store.redrive(id, NOW).await.unwrap(), Some(Redriven::Due));
        assert_eq!(over(), 0, "it is due again");
    }
    complete(&store).await;
    let (completed_before, discarded_before, now) = (Timestamp::MAX, Timestamp::MAX, NOW);
    let retention = Retention { completed_before, discarded_before, now };
    assert_eq!(store.prune(retention, 10).await.unwrap(), 1);
    assert_eq!(over(), 0, "it is gone");
}

#[tokio::test]
async fn jobs_that_make_room_leave_the_list_of_those_that_are_over() {
    let mut limits = CapacityLimits::default();
    limits.kept.history_bytes = 30;
    let store = MemoryStore::new(limits);
    for _ in 0..5 {
        // With its output 20 bytes, of which one fits.
        store.enqueue(vec![job(10)], NOW).await.unwrap();
        complete(&store).await;
    }
    let jobs = store.lock();
    assert_eq!((jobs.over.len(), jobs.records.len()), (1, 1));
}
