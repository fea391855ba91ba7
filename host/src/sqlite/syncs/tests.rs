use std::sync::mpsc::{Receiver, Sender, channel};

use futures_util::FutureExt as _;

use super::*;

/// Syncs that end when the test says how, and what was done afterwards.
struct Fixture {
    syncs: Syncs,
    health: Arc<Health>,
    /// Ends the sync that is under way, or the next one.
    end: Sender<io::Result<()>>,
    done: Receiver<u32>,
    note: Sender<u32>,
}

impl Fixture {
    fn new() -> Self {
        let ((end, ends), (note, done)) = (channel::<io::Result<()>>(), channel());
        let health = Arc::new(Health::of("test"));
        let ends = Mutex::new(ends);
        let sync = move || ends.lock().unwrap().recv().unwrap();
        Self { syncs: Syncs::by(sync, health.clone()).unwrap(), health, end, done, note }
    }

    /// Something that notes `number` when it is done.
    fn noting(&self, number: u32) -> Then {
        let note = self.note.clone();
        Box::new(move || note.send(number).unwrap())
    }

    /// Makes a commit that needs a sync.
    fn commit(&self, number: u32) {
        self.syncs.durable().will_write();
        self.syncs.give(true, self.noting(number));
    }

    fn succeed(&self) {
        self.end.send(Ok(())).unwrap();
    }

    fn fail(&self) {
        self.end.send(Err(io::Error::other("the disk is gone"))).unwrap();
    }

    fn done(&self) -> Vec<u32> {
        self.done.try_iter().collect()
    }

    /// What a reader gets now; `None` if it waits.
    fn seen(&self) -> Option<bool> {
        self.syncs.durable().seen().now_or_never()
    }
}

#[test]
fn what_follows_a_commit_waits_for_its_sync_and_for_what_was_given_before() {
    let fixture = Fixture::new();
    fixture.commit(1);
    fixture.syncs.give(false, fixture.noting(2));
    assert!(!fixture.syncs.is_idle() && fixture.done().is_empty());
    assert_eq!(fixture.seen(), None, "a reader waits");
    fixture.succeed();
    assert!(fixture.syncs.wait());
    assert_eq!(fixture.done(), [1, 2]);
    assert!(fixture.syncs.is_idle());
    assert_eq!(fixture.seen(), Some(true));
}

#[test]
fn after_a_failed_sync_nothing_is_done_and_nothing_can_be_read() {
    let fixture = Fixture::new();
    fixture.commit(1);
    fixture.syncs.give(false, fixture.noting(2));
    fixture.fail();
    assert!(!fixture.syncs.wait() && fixture.syncs.has_failed());
    assert_eq!(fixture.seen(), Some(false));
    fixture.syncs.give(true, fixture.noting(3));
    fixture.syncs.wait();
    assert!(fixture.done().is_empty());
    // What fails afterwards and could pass does not hide it.
    let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    fixture.health.fail(&rusqlite::Error::SqliteFailure(full, None));
    assert!(fixture.health.lock().as_ref().is_some_and(|fault| fault.retry.is_none()));
}

#[test]
fn a_commit_that_fails_holds_no_reader() {
    let fixture = Fixture::new();
    fixture.commit(1);
    fixture.succeed();
    assert!(fixture.syncs.wait());
    fixture.syncs.durable().will_write();
    assert_eq!(fixture.seen(), None);
    fixture.syncs.settle();
    assert_eq!(fixture.seen(), Some(true));
}

#[test]
fn a_panic_is_a_failed_sync() {
    let fixture = Fixture::new();
    fixture.syncs.durable().will_write();
    fixture.syncs.give(true, Box::new(|| panic!("as the test wants")));
    fixture.succeed();
    assert!(!fixture.syncs.wait());
    fixture.syncs.give(true, fixture.noting(1));
    assert!(!fixture.syncs.wait(), "it does not wait for a thread that has ended");
    assert!(fixture.done().is_empty() && fixture.health.lock().is_some());
    assert_eq!(fixture.seen(), Some(false));
}

#[test]
fn the_end_waits_for_a_sync_that_is_under_way() {
    let mut fixture = Fixture::new();
    fixture.commit(1);
    fixture.succeed();
    fixture.syncs.stop();
    assert_eq!(fixture.done(), [1]);
}
