use jobwright_core::job::Verdict;
use jobwright_core::store::{JobStore as _, Redriven, Retention};

use super::super::drafts::{NOW, claim, ending, job};
use super::*;

/// Claims the next job and completes it.
async fn complete(store: &MemoryStore) {
    let leased = store.claim(claim(), NOW).await.unwrap().leased.pop().expect("a job is due");
    store.finish(ending(&leased, Verdict::Complete, 10).into(), NOW).await.unwrap();
}

fn retention(before: Timestamp) -> Retention {
    Retention { completed_before: before, discarded_before: before, now: NOW }
}

#[tokio::test]
async fn the_history_holds_finalized_jobs_only() {
    let store = MemoryStore::new(CapacityLimits::default());
    let finalized = || store.engine.lock().rows().finalized();
    let job = job(10);
    let id = job.id;
    store.enqueue(vec![job], NOW).await.unwrap();
    for _ in 0..3 {
        complete(&store).await;
        assert_eq!(finalized(), 1);
        assert_eq!(store.redrive(id, NOW).await.unwrap(), Some(Redriven::Due));
        assert_eq!(finalized(), 0, "it is due again");
    }
    complete(&store).await;
    assert_eq!(store.prune(retention(Timestamp::MAX), 10).await.unwrap(), 1);
    assert_eq!(finalized(), 0, "it is gone");
}

#[tokio::test]
async fn jobs_that_make_room_are_removed_from_the_history() {
    let mut limits = CapacityLimits::default();
    // Of jobs that count as 1,044 bytes each, one fits.
    limits.kept.history_bytes = 2000;
    let store = MemoryStore::new(limits);
    for _ in 0..5 {
        store.enqueue(vec![job(10)], NOW).await.unwrap();
        complete(&store).await;
    }
    store.prune(retention(Timestamp::MIN), 10).await.unwrap();
    assert_eq!(store.engine.lock().rows().finalized(), 0, "eight go at a time");
}
