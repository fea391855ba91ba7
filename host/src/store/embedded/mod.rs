//! Jobs on disk, for one host: the ledger of `jobwright-core` with durable tables under it.
//!
//! ```text
//! JobStore method ─▶ command ─▶ writer thread: take waiting commands ─▶ ledger + tables ─▶ one COMMIT ─▶ changes, answers
//! reads ─────────────────────▶ read-only connections
//! logs ──────────────────────▶ a writer and a file of their own, so that chatter never delays a job
//! ```
//!
//! A command is on disk before its result is returned. A failed commit returns no results and stops the store:
//! memory was ahead of the disk. The data directory's lock is the lease on every running job, so at the
//! start all of them are reclaimed, and renewals are not written.

mod logs;
mod queries;
mod rows;
mod schema;
mod state;
mod table;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use jobwright_core::capacity::{Capacity, CapacityLimits};
use jobwright_core::change::ChangeStream;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::JobId;
use jobwright_core::ledger::Ledger;
use jobwright_core::limits::show_bytes;
use jobwright_core::log::LogSnapshot;
use jobwright_core::store::{AttemptLog, StoreError};
use rusqlite::Connection;

use self::logs::Logs;
use self::queries::LISTINGS;
use self::state::WriterState;
use self::table::Tables;
use super::ledgered::{Effect, Engine, Ledgered};
use super::view::ReadKind;
use crate::disk::Floor;
use crate::sqlite::readers::{LOOKUPS, Readers};
use crate::sqlite::writer::Writer;

/// The free space below which opening a store may fail: some times the size that it writes.
const FULL_BYTES: u64 = 4 << 20;

/// See the documentation of the module.
pub type EmbeddedStore = Ledgered<Sqlite>;

/// The writer, the readers, and the logs.
#[derive(Debug)]
pub struct Sqlite {
    writer: Writer<WriterState>,
    readers: Arc<Readers>,
    listings: Arc<Readers>,
    logs: Logs,
    spare: Arc<AtomicU64>,
}

impl EmbeddedStore {
    /// Opens or creates the store in `directory`, which the caller has locked, and reclaims the
    /// jobs that were running when it was last used.
    ///
    /// # Errors
    /// With a reason a person can act on: the directory cannot be written, was written by a newer
    /// version, holds something that cannot be read, or lacks its jobs.
    pub fn open(directory: &Path, limits: CapacityLimits, now: Timestamp) -> anyhow::Result<Self> {
        refuse_if_missing(directory)?;
        with_room(directory, || Self::open_as_it_is(directory, limits, now))
    }

    fn open_as_it_is(
        directory: &Path,
        limits: CapacityLimits,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let (capacity, changes) = (Capacity::new(limits), Arc::new(ChangeStream::default()));
        let path = directory.join("jobs.db");
        let state = WriterState::open(&path, capacity.clone(), changes.clone(), now)?;
        let spare = state.spare();
        let writer = Writer::start("jobs", &path, state)?;
        let engine = Sqlite {
            spare,
            readers: writer.readers(LOOKUPS),
            listings: writer.readers(LISTINGS),
            writer,
            logs: Logs::open(&directory.join("logs.db"), &path, limits.kept)?,
        };
        Ok(Self { engine, capacity, changes })
    }
}

/// Calls `open`; on a full disk, again after removing the logs of attempts.
///
/// # Errors
/// The error of `open`, with the remedy if the disk is full.
pub fn with_room<T>(directory: &Path, open: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let floor = Floor::new(directory, FULL_BYTES);
    let opened = open();
    if opened.is_ok() || !floor.is_reached() {
        return opened;
    }
    tracing::error!(
        directory = %directory.display(),
        "the disk is full: removing the logs of attempts, which no job needs, to start"
    );
    logs::remove(&directory.join("logs.db"));
    open().with_context(|| {
        format!(
            "the disk under {} has {} of free space: free some space and start again; no job is \
             lost",
            directory.display(),
            show_bytes(floor.free_bytes())
        )
    })
}

/// A directory that was used has a job store. One that has lost it must not be treated as new:
/// its jobs would be forgotten, and SQLite would remove the write-ahead log that may hold them.
fn refuse_if_missing(directory: &Path) -> anyhow::Result<()> {
    let length = |file: &str| std::fs::metadata(directory.join(file)).map_or(0, |it| it.len());
    let traces = ["jobs.db-wal", "logs.db"];
    if length("jobs.db") == 0
        && let Some(trace) = traces.into_iter().find(|file| length(file) > 0)
    {
        anyhow::bail!(
            "the job store {} is missing or empty, but the directory has {trace}: restore the \
             missing file, or use another data directory",
            directory.join("jobs.db").display()
        );
    }
    Ok(())
}

impl Engine for Sqlite {
    type Rows = Tables;
    type View = Connection;

    async fn run<A: Send + 'static>(
        &self,
        effect: Effect,
        bytes: usize,
        step: impl FnOnce(&mut Ledger<Tables>) -> rusqlite::Result<A> + Send + 'static,
    ) -> Result<A, StoreError> {
        self.writer.submit(effect, bytes, |state| step(&mut state.ledger)).await
    }

    async fn read<A: Send + 'static>(
        &self,
        kind: ReadKind,
        step: impl FnOnce(&Connection) -> rusqlite::Result<A> + Send + 'static,
    ) -> Result<A, StoreError> {
        let readers = match kind {
            ReadKind::Lookup => &self.readers,
            ReadKind::Listing => &self.listings,
        };
        readers.read(step).await
    }

    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError> {
        let tenant =
            self.readers.peek(move |db| queries::tenant(db, id)).await?.unwrap_or_default();
        self.logs.save(tenant, id, AttemptLog { attempt, log }).await
    }

    async fn logs(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError> {
        self.logs.read(id).await
    }

    async fn remove_logs(&self, ids: Vec<JobId>) -> Result<(), StoreError> {
        self.logs.remove(ids).await
    }

    fn spare_bytes(&self) -> u64 {
        self.spare.load(Ordering::Relaxed)
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.writer.healthy()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use jobwright_core::store::{JobFilter, JobPage, JobReads as _, Page};
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_read_of_one_job_does_not_wait_for_listings() {
        let directory = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let store = EmbeddedStore::open(directory.path(), CapacityLimits::default(), now).unwrap();
        let mut held = Vec::new();
        for _ in 0..LISTINGS {
            let (release, released) = mpsc::channel::<()>();
            let (listings, (begin, begun)) = (store.engine.listings.clone(), oneshot::channel());
            let listing = tokio::spawn(async move {
                let long = move |_: &rusqlite::Connection| {
                    let _ = begin.send(());
                    let _ = released.recv();
                    Ok(())
                };
                listings.read(long).await
            });
            begun.await.unwrap();
            held.push((release, listing));
        }
        let listing = store.list(JobFilter::default(), Page { before: None, most: 1 }, now);
        let mut listing = std::pin::pin!(listing);
        assert!(futures_util::poll!(&mut listing).is_pending(), "it waits for the others");
        let found = tokio::time::timeout(Duration::from_secs(20), store.get(JobId::new(now))).await;
        assert_eq!(found.expect("it waits for none"), Ok(None));
        for (release, earlier) in held {
            drop(release);
            earlier.await.unwrap().unwrap();
        }
        assert_eq!(listing.await, Ok(JobPage::default()));
    }
}
