//! Syncs of a write-ahead log on a thread of their own: while one is under way, the writer applies the next group.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::durable::Durable;
use super::health::Health;

/// Commits whose results wait for the thread. One needs a sync at most; the others are of commands without one, and
/// only wait to be published after it.
const WAITING: usize = 64;

/// What happens once a commit is on disk.
pub(crate) type Then = Box<dyn FnOnce() + Send>;

/// The writer's side.
pub(super) struct Syncs {
    shared: Arc<Shared>,
    commits: Option<SyncSender<Commit>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Syncs the write-ahead log.
    sync: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
    health: Arc<Health>,
    /// Whether a sync has failed, so that it is unknown what is on disk.
    has_failed: AtomicBool,
    durable: Arc<Durable>,
    /// How many commits the thread was given and has not finished.
    unfinished: Mutex<usize>,
    finished: Condvar,
}

struct Commit {
    needs_sync: bool,
    then: Then,
}

impl Syncs {
    /// Starts the thread for the write-ahead log of the database at `path`, which is open.
    ///
    /// # Errors
    /// If the log cannot be opened, or the thread cannot be started.
    pub(super) fn start(path: &Path, health: Arc<Health>) -> io::Result<Self> {
        let log = open_log(path)?;
        Self::by(move || log.sync_data(), health)
    }

    /// As [`Syncs::start`], with this way to sync.
    fn by(
        sync: impl Fn() -> io::Result<()> + Send + Sync + 'static,
        health: Arc<Health>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            sync: Box::new(sync),
            health,
            has_failed: AtomicBool::new(false),
            durable: Arc::default(),
            unfinished: Mutex::new(0),
            finished: Condvar::new(),
        });
        let (commits, given) = sync_channel(WAITING);
        let name = format!("{}-sync", shared.health.store);
        let working = shared.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || working.run(&given))?;
        Ok(Self { shared, commits: Some(commits), thread: Some(thread) })
    }

    /// Which commits are on disk.
    pub(super) fn durable(&self) -> &Arc<Durable> {
        &self.shared.durable
    }

    /// Whether the thread has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        *self.shared.unfinished() == 0
    }

    /// Waits until all commits are on disk; returns false if a sync failed.
    pub(super) fn wait(&self) -> bool {
        let unfinished = self.shared.unfinished();
        let waited = self.shared.finished.wait_while(unfinished, |unfinished| *unfinished > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        !self.has_failed()
    }

    /// Whether a sync has failed, so that it is unknown what is on disk.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.has_failed()
    }

    /// Syncs the latest commit on this thread, and then does `then`. The other thread is idle.
    pub(super) fn sync_here(&self, then: Then) {
        self.shared.finish(Commit { needs_sync: true, then });
    }

    /// Lets the thread do `then` after what it was given before, and after a sync if `needs_sync`.
    pub(super) fn give(&self, needs_sync: bool, then: Then) {
        let Some(commits) = &self.commits else { return };
        *self.shared.unfinished() += 1;
        if commits.send(Commit { needs_sync, then }).is_err() {
            *self.shared.unfinished() -= 1; // the thread has panicked, and noted that
        }
    }

    /// Notes that the latest commit has failed, so that nobody waits for it.
    pub(super) fn settle(&self) {
        let is_known = self.wait();
        self.shared.durable.settle(is_known);
    }

    /// Waits for the latest sync, and ends the thread.
    pub(super) fn stop(&mut self) {
        self.commits = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(store = self.shared.health.store, "the thread of syncs panicked");
        }
        self.shared.durable.settle(!self.has_failed());
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self, commits: &Receiver<Commit>) {
        while let Ok(commit) = commits.recv() {
            let _finished = Finished(self);
            self.finish(commit);
        }
    }

    /// Syncs, and does what waits for that. After a failure nothing more is answered: dropping it tells the callers
    /// to read the fault.
    fn finish(&self, Commit { needs_sync, then }: Commit) {
        if needs_sync && !self.has_failed() {
            let synced = (self.sync)();
            self.durable.settle(synced.is_ok());
            if let Err(error) = synced {
                self.fail(&error);
            }
        }
        if !self.has_failed() {
            then();
        }
    }

    fn fail(&self, error: &io::Error) {
        self.health.fail_for_good(error);
        self.has_failed.store(true, Ordering::Release);
    }

    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    fn unfinished(&self) -> MutexGuard<'_, usize> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a commit as finished when it is dropped. If that is because of a panic, the thread ends, and with it the store.
struct Finished<'a>(&'a Shared);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&io::Error::other("its thread panicked"));
            self.0.durable.settle(false);
        }
        *self.0.unfinished() -= 1;
        self.0.finished.notify_one();
    }
}

/// Opens the write-ahead log of the database at `path`, and syncs its entry in the directory, which SQLite does with
/// its own first sync of a new file. It stays the same file while a connection is open, and SQLite holds no locks on it
/// that closing it would release.
fn open_log(path: &Path) -> io::Result<File> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = File::options().read(true).write(true).open(PathBuf::from(log))?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(log)
}

#[cfg(test)]
mod tests;
