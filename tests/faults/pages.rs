//! Pages of the store whose content was changed on disk.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use jobwright::store::embedded::EmbeddedStore;
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::JobId;
use jobwright_core::store::{JobReads, JobStore, StoreError};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::conformance::jobs;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_damaged_page_is_reported_and_no_job_is_skipped,
        a_damaged_write_ahead_log_is_copied_before_it_is_overwritten,
    ]
}

/// The page size of a new SQLite database.
const PAGE: usize = 4096;

/// Enough jobs for several pages in every table and index.
const JOBS: usize = 200;

async fn a_damaged_page_is_reported_and_no_job_is_skipped() -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let jobs = jobs(JOBS);
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let now = Timestamp::UNIX_EPOCH;
    open(directory.path())?.enqueue(jobs, now).await?;
    let whole = std::fs::read(directory.path().join("jobs.db"))?;
    let pages = whole.len() / PAGE;
    let (mut refused, mut reported) = (0, 0);
    for page in 0..pages {
        for damage in [damaged(&whole, page, |_| 0), damaged(&whole, page, |at| at as u8)] {
            let copy = TempDir::new()?;
            std::fs::write(copy.path().join("jobs.db"), damage)?;
            let Ok(store) = open(copy.path()) else {
                refused += 1;
                continue;
            };
            reported += usize::from(check(&store, &ids).await.context(format!("page {page}"))?);
        }
    }
    println!("{pages} pages, each damaged twice: {refused} refused at start, {reported} later");
    ensure!(refused > pages / 2, "only {refused} were refused");
    Ok(())
}

/// SQLite treats a write-ahead log with such a header as empty, and overwrites it.
async fn a_damaged_write_ahead_log_is_copied_before_it_is_overwritten() -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let jobs = jobs(JOBS);
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let store = open(directory.path())?;
    store.enqueue(jobs, Timestamp::UNIX_EPOCH).await?;
    // The files as a killed process leaves them.
    let files = ["jobs.db", "jobs.db-wal"].map(|file| std::fs::read(directory.path().join(file)));
    let [database, log] = files;
    let (database, log) = (database?, log?);
    for at in [0, 9, 17, 30, 40, log.len() / 2] {
        let copy = TempDir::new()?;
        let mut damaged = log.clone();
        damaged[at] ^= 1;
        std::fs::write(copy.path().join("jobs.db"), &database)?;
        std::fs::write(copy.path().join("jobs.db-wal"), &damaged)?;
        drop(open(copy.path()));
        let kept = kept(copy.path())?.with_context(|| format!("damage at {at} was not seen"))?;
        ensure!(std::fs::read(&kept)? == damaged, "another log was kept");
        // Once it is repaired, all jobs are there.
        damaged[at] ^= 1;
        std::fs::write(copy.path().join("jobs.db"), &database)?;
        std::fs::write(copy.path().join("jobs.db-wal"), &damaged)?;
        check(&open(copy.path())?, &ids).await?;
    }
    drop(store);
    ensure!(kept(directory.path())?.is_none(), "this one was never damaged");
    Ok(())
}

/// The copy of a damaged log, if there is one.
fn kept(directory: &Path) -> anyhow::Result<Option<PathBuf>> {
    let files = std::fs::read_dir(directory)?.map(|file| Ok(file?.path()));
    let files: Vec<PathBuf> = files.collect::<std::io::Result<_>>()?;
    Ok(files.into_iter().find(|file| file.to_string_lossy().contains("jobs.db-wal.damaged-")))
}

fn open(directory: &Path) -> anyhow::Result<EmbeddedStore> {
    EmbeddedStore::open(directory, CapacityLimits::default(), Timestamp::UNIX_EPOCH)
}

/// `whole` with half of a page replaced.
fn damaged(whole: &[u8], page: usize, byte: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut bytes = whole.to_owned();
    for at in 0..PAGE / 2 {
        bytes[page * PAGE + at] = byte(at);
    }
    bytes
}

/// Checks that every job is there or is reported as unreadable; returns whether some are unreadable.
async fn check(store: &EmbeddedStore, ids: &[JobId]) -> anyhow::Result<bool> {
    let counts = store.counts(Timestamp::UNIX_EPOCH).await?;
    let waiting: usize = counts.iter().map(|counts| counts.depth).sum();
    ensure!(waiting == ids.len(), "{waiting} jobs wait, and {} were acknowledged", ids.len());
    let mut reported = false;
    for id in ids {
        match store.get(*id).await {
            Ok(job) => ensure!(job.is_some(), "{id} was acknowledged and is unknown"),
            Err(StoreError::Corrupt { .. } | StoreError::Unavailable { .. }) => reported = true,
        }
    }
    Ok(reported)
}
