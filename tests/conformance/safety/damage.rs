//! Unusable directories and full disks: refused with a message that names the remedy, and never at the
//! cost of an acknowledged job.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jobwright_core::capacity::{CapacityLimits, QueueFull};
use jobwright_core::job::{JobState, Verdict};
use jobwright_core::log::LogSnapshot;
use jobwright_core::store::{Enqueued, Finished, StoreError};
use libtest_mimic::Trial;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::conformance::drafts::{Draft as _, at, job, paused};
use crate::conformance::fixture::Fixture;
use crate::conformance::{SQLITE, laws};

laws![
    a_directory_of_a_newer_version_is_refused,
    a_directory_of_an_older_version_is_brought_up_to_date,
    a_file_that_is_no_database_is_refused,
    damaged_logs_are_set_aside,
    a_used_directory_without_its_jobs_is_refused,
    a_missing_directory_is_refused,
    a_waiting_job_that_cannot_be_read_is_refused,
    a_paused_queue_that_cannot_be_read_is_refused,
    a_finalized_job_that_cannot_be_read_is_an_error,
    a_job_whose_payload_is_lost_is_discarded_alone,
];

fn open(directory: TempDir) -> anyhow::Result<Fixture> {
    Fixture::open(SQLITE, directory, CapacityLimits::default(), at(1))
}

/// Checks that the directory cannot be opened, with all of `facts` in the error.
fn refused(directory: TempDir, facts: &[&str]) -> anyhow::Result<()> {
    let path = directory.path().display().to_string();
    let Err(error) = open(directory) else { bail!("the store was opened") };
    let message = format!("{error:#}");
    for fact in facts.iter().copied().chain([&*path]) {
        ensure!(message.contains(fact), "`{fact}` is not in: {message}");
    }
    Ok(())
}

/// Closes the store and runs `sql` on one of its files.
fn alter(store: Fixture, file: &str, sql: &str) -> anyhow::Result<TempDir> {
    let directory = store.close();
    let database = Connection::open(directory.path().join(file))?;
    database.execute_batch(sql)?;
    Ok(directory)
}

async fn a_directory_of_a_newer_version_is_refused(store: Fixture) -> anyhow::Result<()> {
    store.accept(job(), at(0)).await?;
    let directory = alter(store, "jobs.db", "PRAGMA user_version = 999")?;
    refused(directory, &["newer version", "schema 999", "this one knows up to", "jobs.db"])
}

async fn a_directory_of_an_older_version_is_brought_up_to_date(
    store: Fixture,
) -> anyhow::Result<()> {
    let over = store.finished(Verdict::Complete, at(0)).await?;
    let waiting = store.accept(job(), at(0)).await?;
    let first_version = "DROP INDEX history_by_tenant; DROP INDEX history_failed;
        ALTER TABLE job DROP COLUMN start_by; ALTER TABLE history DROP COLUMN start_by;
        ALTER TABLE job DROP COLUMN end_by; ALTER TABLE history DROP COLUMN end_by;
        UPDATE job SET spec = (SELECT json FROM shared_spec WHERE number = spec)
            WHERE spec NOT LIKE '{%';
        UPDATE history SET spec = (SELECT json FROM shared_spec WHERE number = spec)
            WHERE spec NOT LIKE '{%';
        INSERT INTO payload SELECT seq, payload_type, payload FROM job;
        INSERT INTO payload SELECT seq, payload_type, payload FROM history;
        ALTER TABLE job DROP COLUMN held_by; ALTER TABLE history DROP COLUMN held_by;
        ALTER TABLE job DROP COLUMN position; ALTER TABLE job DROP COLUMN payload_type;
        ALTER TABLE job DROP COLUMN payload; ALTER TABLE job DROP COLUMN output;
        UPDATE history SET position = seq; ALTER TABLE history DROP COLUMN seq;
        ALTER TABLE history RENAME COLUMN position TO seq;
        ALTER TABLE history DROP COLUMN payload_type; ALTER TABLE history DROP COLUMN payload;
        ALTER TABLE history DROP COLUMN output;
        CREATE INDEX history_by_end ON history (state, finalized_at);
        DROP TABLE tenant; DROP TABLE hold;
        ALTER TABLE job DROP COLUMN tenant; ALTER TABLE history DROP COLUMN tenant;
        CREATE TABLE paused (queue TEXT PRIMARY KEY); INSERT INTO paused VALUES ('off');
        ALTER TABLE job DROP COLUMN progress; DROP TABLE checkpoint;
        ALTER TABLE history DROP COLUMN progress; ALTER TABLE job DROP COLUMN snoozes;
        ALTER TABLE job DROP COLUMN snoozed_since; ALTER TABLE history DROP COLUMN snoozes;
        ALTER TABLE history DROP COLUMN snoozed_since; ALTER TABLE job DROP COLUMN output_attempt;
        ALTER TABLE history DROP COLUMN output_attempt; ALTER TABLE job DROP COLUMN lost_after;
        ALTER TABLE history DROP COLUMN lost_after; DROP TABLE host;
        ALTER TABLE job DROP COLUMN on_wall; ALTER TABLE history DROP COLUMN on_wall;
        DROP TABLE history_share; DROP TABLE dedup; DROP TABLE shared_spec;
        CREATE TABLE idempotency (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL,
            job BLOB NOT NULL, answer BLOB NOT NULL, expires_at INTEGER NOT NULL);
        CREATE INDEX idempotency_by_end ON idempotency (expires_at);
        PRAGMA user_version = 1;";
    let store = open(alter(store, "jobs.db", first_version)?)?;
    assert_eq!(store.holds().await?.into_keys().collect::<Vec<_>>(), [paused("off")]);
    store.set_held(paused("off"), None).await?;
    assert!(store.holds().await?.is_empty());
    assert_eq!(store.state(over).await?, JobState::Completed);
    let leased = store.claim_one(at(1)).await?;
    assert_eq!(leased.job.id, waiting);
    store.finish_with(&leased, Verdict::Retry { at: at(2) }, at(1)).await?;
    assert!(store.claim_one(at(2)).await?.checkpoint.is_some());
    Ok(())
}

async fn a_job_whose_payload_is_lost_is_discarded_alone(store: Fixture) -> anyhow::Result<()> {
    let lost = store.accept(job(), at(0)).await?;
    let other = store.accept(job(), at(0)).await?;
    let store = open(alter(store, "jobs.db", "UPDATE job SET payload = NULL WHERE seq = 1")?)?;
    assert_eq!(store.claim_all(at(1)).await?, [other]);
    let discarded = store.job(lost).await?;
    assert_eq!(discarded.lifecycle.state, JobState::Discarded);
    let error = discarded.attempts[0].error.as_ref().context("an error")?;
    assert_eq!(error.code, "payload_lost");
    assert_eq!(store.ready(), Ok(()));
    store.accept(job(), at(1)).await?;
    assert_eq!(store.reopen(at(2))?.state(lost).await?, JobState::Discarded);
    Ok(())
}

async fn a_file_that_is_no_database_is_refused(_: Fixture) -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    std::fs::write(directory.path().join("jobs.db"), letter())?;
    refused(directory, &["not a database", "jobs.db"])
}

fn letter() -> String {
    "this is a letter to my aunt and no database; ".repeat(100)
}

/// No job depends on logs, so the host starts without waiting for a repair.
async fn damaged_logs_are_set_aside(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let directory = store.close();
    let path = directory.path().to_owned();
    std::fs::write(path.join("logs.db"), letter())?;
    let store = open(directory)?;
    assert_eq!(std::fs::read_to_string(path.join("logs.db.damaged"))?, letter());
    assert_eq!(store.claim_all(at(1)).await?, [id]);
    let log = LogSnapshot { bytes: b"new".to_vec(), kept_bytes: 3, dropped_bytes: 0 };
    store.save_log(id, 1, log).await?;
    assert_eq!(store.logs(id).await?.len(), 1);
    Ok(())
}

/// Otherwise it would be treated as a new directory, and every acknowledged job would be lost.
async fn a_used_directory_without_its_jobs_is_refused(_: Fixture) -> anyhow::Result<()> {
    for (left, empty) in [("logs.db", false), ("jobs.db-wal", false), ("logs.db", true)] {
        let store = Fixture::new(SQLITE, crate::conformance::Place::Memory)?;
        store.accept(job(), at(0)).await?;
        let directory = store.close();
        let jobs = directory.path().join("jobs.db");
        std::fs::remove_file(&jobs)?;
        if empty {
            std::fs::write(&jobs, "")?;
        }
        let lost = if left == "logs.db" { "jobs.db-wal" } else { "logs.db" };
        let _ = std::fs::remove_file(directory.path().join(lost));
        std::fs::write(directory.path().join(left), "something")?;
        refused(directory, &["missing or empty", left])?;
    }
    Ok(())
}

async fn a_missing_directory_is_refused(_: Fixture) -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    std::fs::remove_dir(directory.path())?;
    refused(directory, &["cannot open the store"])
}

/// Skipping the job would lose it.
async fn a_waiting_job_that_cannot_be_read_is_refused(_: Fixture) -> anyhow::Result<()> {
    for damage in [
        "UPDATE job SET spec = '{'",
        "UPDATE job SET spec = '{\"plugin\":\"A/B\"}'",
        "UPDATE job SET state = 9",
        "UPDATE job SET id = x'00'",
        "UPDATE job SET scheduled_at = 9223372036854775807",
        "UPDATE job SET attempts = 'x'",
    ] {
        let store = Fixture::new(SQLITE, crate::conformance::Place::Memory)?;
        store.accept(job(), at(0)).await?;
        let directory = alter(store, "jobs.db", damage)?;
        refused(directory, &["cannot read", "jobs.db"]).context(damage)?;
    }
    Ok(())
}

const PAUSE_NO_NAME: &str = "INSERT INTO hold (hold)
    VALUES ('{\"queue\":{\"tenant\":\"default\",\"queue\":\"NO NAME\"}}')";

async fn a_paused_queue_that_cannot_be_read_is_refused(store: Fixture) -> anyhow::Result<()> {
    let directory = alter(store, "jobs.db", PAUSE_NO_NAME)?;
    refused(directory, &["cannot read", "NO NAME"])
}

async fn a_finalized_job_that_cannot_be_read_is_an_error(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Complete, at(0)).await?;
    let store = open(alter(store, "jobs.db", "UPDATE history SET spec = '{'")?)?;
    assert!(matches!(store.get(id).await, Err(StoreError::Corrupt { .. })));
    assert_eq!(store.ready(), Ok(()), "the rest goes on");
    store.accept(job(), at(1)).await?;
    Ok(())
}

/// A small file system of its own, which can be filled.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(directory.path());
        let done = mount.output().context("cannot run mount")?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(Self(directory))
    }

    /// Uses up all free space.
    fn fill(&self) -> anyhow::Result<PathBuf> {
        let ballast = self.0.path().join("ballast");
        let outcome = std::fs::write(&ballast, vec![0; 8 << 20]);
        ensure!(outcome.is_err(), "the disk is larger than it should be");
        Ok(ballast)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A remaining mount would use a few MiB until the machine stops.
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

/// The law of the full disk; ignored where a small one cannot be mounted.
pub(in crate::conformance) fn full_disk() -> Trial {
    let name = format!("{}::a_full_disk_loses_nothing", module_path!());
    let name = name.replace("::damage::", "::sqlite::");
    let possible = SmallDisk::mount().is_ok();
    let test = jobwright_tests::trial(&name, || Box::pin(a_full_disk_loses_nothing()));
    test.with_ignored_flag(!possible)
}

async fn a_full_disk_loses_nothing() -> anyhow::Result<()> {
    let disk = SmallDisk::mount()?;
    let limits = CapacityLimits { total: 3, ..Default::default() };
    let store = Fixture::open(SQLITE, TempDir::new_in(disk.0.path())?, limits, at(0))?;
    let running = store.accept(job(), at(0)).await?;
    let waiting = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(0)).await?;

    let ballast = disk.fill()?;
    let large = || job().payload(vec![7; 1 << 20]);
    assert_unavailable(store.offer(large(), at(1)).await);
    assert!(matches!(store.ready(), Err(StoreError::Unavailable { .. })));
    assert_unavailable(store.offer(job(), at(1)).await);
    assert_eq!(store.state(waiting).await?, JobState::Available, "reading goes on");

    std::fs::remove_file(&ballast)?;
    until_accepted(&store).await?;
    assert_eq!(store.ready(), Ok(()));
    let full = QueueFull::Host { depth: 3, capacity: 3 };
    assert_eq!(store.offer(job(), at(2)).await?, Enqueued::QueueFull(full));
    let answer = store.finish_with(&leased, Verdict::Complete, at(2)).await?;
    assert_eq!(answer, Finished::Recorded(JobState::Completed), "the lease still holds");

    let store = store.reopen(at(3))?;
    assert_eq!(store.state(running).await?, JobState::Completed);
    assert_eq!(store.claim_all(at(3)).await?.first(), Some(&waiting));
    Ok(())
}

fn assert_unavailable(answer: anyhow::Result<Enqueued>) {
    let error = answer.expect_err("the disk is full");
    let Some(StoreError::Unavailable { reason }) = error.downcast_ref() else {
        panic!("{error:?}");
    };
    assert!(reason.contains("full"), "{reason}");
}

/// Offers a job until it is accepted. The store checks for free space each second of the machine's
/// clock, so this is the only test that waits.
async fn until_accepted(store: &Fixture) -> anyhow::Result<()> {
    for _ in 0..100 {
        if store.offer(job(), at(1)).await.is_ok_and(|answer| answer == Enqueued::Inserted) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("no job is accepted although there is space again: {:?}", store.ready())
}
