//! Checkpoints of the write-ahead log, on a thread and a connection of their own, concurrently with
//! the writer.
//!
//! A passive checkpoint copies what it can without waiting for readers or the writer. Under load the writer
//! appends while it copies, so it never reaches the end of the log, and the log never restarts. If the log
//! becomes too long, the writer itself checkpoints the small rest between two groups of commands.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::Connection;

use super::open::{BUSY_TIMEOUT, open_beside};

/// How many pages are written between two checkpoints: 4 MiB, some milliseconds of copying.
const PASSIVE_PAGES: u32 = 1024;

/// The length of the log, in pages, above which the writer restarts it: 64 MiB.
const RESTART_PAGES: u32 = 16_384;

/// See the documentation of the module.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// How many pages the log has, as of the latest commit.
    pages: Arc<AtomicU32>,
    /// The length at the latest request for a checkpoint.
    asked: u32,
    /// Held while the thread checkpoints.
    at_work: Arc<Mutex<()>>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    ask: SyncSender<()>,
    handle: JoinHandle<()>,
}

impl Checkpoints {
    /// Starts the checkpoints of the database at `path`, whose writer uses the connection `db`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(path: &Path, db: &mut Connection) -> anyhow::Result<Self> {
        let pages = Arc::<AtomicU32>::default();
        let counted = pages.clone();
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            counted.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        let connection = open_beside(path)?;
        let (ask, asked) = sync_channel(1);
        let at_work = Arc::<Mutex<()>>::default();
        let working = at_work.clone();
        let work = move || {
            while asked.recv() == Ok(()) {
                let _working = lock(&working);
                checkpoint(&connection, "PASSIVE");
            }
        };
        let thread = std::thread::Builder::new().name("jobs-checkpoint".to_owned());
        let handle = thread.spawn(work).context("cannot start a thread for checkpoints")?;
        Ok(Self { pages, asked: 0, at_work, thread: Some(Thread { ask, handle }) })
    }

    /// Requests a checkpoint if enough was written since the last one. Called after each commit.
    pub(crate) fn committed(&mut self) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.asked {
            self.asked = 0; // the log was restarted
        }
        if pages - self.asked >= PASSIVE_PAGES
            && let Some(thread) = &self.thread
        {
            // A checkpoint that is requested already copies this too.
            let _ = thread.ask.try_send(());
            self.asked = pages;
        }
    }

    /// Waits for a checkpoint that is being made, which takes some milliseconds: another one would be
    /// refused meanwhile. None begins before the guard is dropped.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        lock(&self.at_work)
    }

    /// Restarts a log that has become too long, unless a reader is using it. Called between two
    /// groups of commands.
    pub(crate) fn restart_long_log(&self, db: &Connection) {
        if self.pages.load(Ordering::Relaxed) < RESTART_PAGES {
            return;
        }
        let _paused = self.pause();
        let without_waiting = db.busy_timeout(Duration::ZERO);
        if without_waiting.is_ok() {
            checkpoint(db, "RESTART");
        }
        if let Err(error) = db.busy_timeout(BUSY_TIMEOUT) {
            tracing::warn!(%error, "cannot set the busy timeout of the job store");
        }
    }

    /// Ends the thread, so that the writer's connection is the last.
    pub(crate) fn stop(&mut self) {
        if let Some(Thread { ask, handle }) = self.thread.take() {
            drop(ask);
            if handle.join().is_err() {
                tracing::error!("the thread of the job store's checkpoints panicked");
            }
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(at_work: &Mutex<()>) -> MutexGuard<'_, ()> {
    at_work.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes one checkpoint. If it is not possible now, a later one copies the rest.
fn checkpoint(db: &Connection, mode: &str) {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    if let Err(error) = db.query_row(&sql, [], |_| Ok(())) {
        tracing::debug!(%error, mode, "a checkpoint of the job store is postponed");
    }
}
