//! The fixture of the laws: a new store, with helpers for common calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::host::HostId;
use jobwright_core::job::{Job, JobId, JobState, NewJob, Verdict};
use jobwright_core::queue::{QueueCounts, Reserve};
use jobwright_core::store::{
    Claim, Enqueued, Finished, JobFilter, Leased, Page, Store, StoreError,
};
use tempfile::TempDir;

use super::drafts::{at, ending, job};

/// The duration of leases in the laws.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// The hosts.
pub(crate) const HOSTS: [HostId; 2] = [HostId::from_random([1; 16]), HostId::from_random([2; 16])];

/// A claim of at most `max` jobs by the first host, as if it was idle, without a memory limit.
pub(crate) fn want(max: usize, now: Timestamp) -> Claim {
    Claim {
        host: HOSTS[0],
        max,
        memory_bytes: u64::MAX,
        idle: true,
        reserve: Reserve::default(),
        expires_at: after(now, LEASE),
        wall: now,
    }
}

/// Opens another handle on an open store, as a second host does.
type Second = fn(&Arc<dyn Store>) -> anyhow::Result<Arc<dyn Store>>;

/// A driver: how its store is opened in a directory.
pub(crate) struct Driver {
    pub(crate) name: &'static str,
    pub(crate) open: fn(&Path, CapacityLimits, Timestamp) -> anyhow::Result<Arc<dyn Store>>,
    /// `None` if a store has one host.
    pub(crate) second: Option<Second>,
}

/// The location of a store's directory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// On a file system in memory if the machine has one: syncs cost nothing.
    Memory,
    /// On a disk.
    Disk,
}

/// A store in a directory of its own; dereferences to the store.
pub(crate) struct Fixture {
    store: Arc<dyn Store>,
    driver: &'static Driver,
    directory: TempDir,
    /// The host whose handle it is.
    host: HostId,
}

impl std::ops::Deref for Fixture {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl Fixture {
    /// An empty store.
    pub(crate) fn new(driver: &'static Driver, place: Place) -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let directory = match place {
            Place::Memory if memory.is_dir() => TempDir::new_in(memory)?,
            _ => TempDir::new()?,
        };
        Self::open(driver, directory, CapacityLimits::default(), at(0))
    }

    /// The store in `directory`.
    pub(crate) fn open(
        driver: &'static Driver,
        directory: TempDir,
        limits: CapacityLimits,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let store = (driver.open)(directory.path(), limits, now)?;
        Ok(Self { store, driver, directory, host: HOSTS[0] })
    }

    /// The same store, still empty, with these bounds.
    pub(crate) fn bounded(self, limits: CapacityLimits) -> anyhow::Result<Self> {
        self.reopen_bounded(limits, at(0))
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(self, now: Timestamp) -> anyhow::Result<Self> {
        self.reopen_bounded(CapacityLimits::default(), now)
    }

    /// Closes the store and opens it again with other bounds.
    pub(crate) fn reopen_bounded(
        self,
        limits: CapacityLimits,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let Self { store, driver, directory, .. } = self;
        drop(store);
        Self::open(driver, directory, limits, now)
    }

    /// The store as the next process finds it when this one is killed now: the files as they are,
    /// without anything that closing would do.
    pub(crate) fn crash(&self, limits: CapacityLimits, now: Timestamp) -> anyhow::Result<Self> {
        let beside = self.directory.path().parent().context("a temporary directory")?;
        let directory = TempDir::new_in(beside)?;
        for file in self.directory.path().read_dir()? {
            let file = file?;
            // The `-shm` index of a write-ahead log is shared memory of the process that died.
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                std::fs::copy(file.path(), directory.path().join(file.file_name()))?;
            }
        }
        Self::open(self.driver, directory, limits, now)
    }

    /// The directory, after the store in it was closed.
    pub(crate) fn close(self) -> TempDir {
        self.directory
    }

    /// Another handle on the store, as a second host has it.
    pub(crate) fn second(&self) -> anyhow::Result<Self> {
        let second = self.driver.second.context("the store has one host")?;
        let (store, directory) = (second(&self.store)?, TempDir::new()?);
        Ok(Self { store, driver: self.driver, directory, host: HOSTS[1] })
    }

    /// The store, for another task.
    pub(crate) fn handle(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Enqueues a job that must be accepted.
    pub(crate) async fn accept(&self, job: NewJob, now: Timestamp) -> anyhow::Result<JobId> {
        let id = job.id;
        let answer = self.store.enqueue(vec![job], now).await?;
        ensure!(answer == [Enqueued::Inserted], "not accepted: {answer:?}");
        Ok(id)
    }

    /// Enqueues one job.
    pub(crate) async fn offer(&self, job: NewJob, now: Timestamp) -> anyhow::Result<Enqueued> {
        self.store.enqueue(vec![job], now).await?.pop().context("one answer")
    }

    /// Claims at most `max` jobs, without a memory limit.
    pub(crate) async fn claim_up_to(
        &self,
        max: usize,
        now: Timestamp,
    ) -> anyhow::Result<Vec<Leased>> {
        self.claim_as(self.host, max, now).await
    }

    /// Claims at most `max` jobs for a host, also on the only handle of a store.
    pub(crate) async fn claim_as(
        &self,
        host: HostId,
        max: usize,
        now: Timestamp,
    ) -> anyhow::Result<Vec<Leased>> {
        Ok(self.store.claim(Claim { host, ..want(max, now) }, now).await?.leased)
    }

    /// Claims the one job that must be there for a host.
    pub(crate) async fn claim_one_as(
        &self,
        host: HostId,
        now: Timestamp,
    ) -> anyhow::Result<Leased> {
        self.claim_as(host, 1, now).await?.pop().context("nothing to claim")
    }

    /// Claims the one job that must be there.
    pub(crate) async fn claim_one(&self, now: Timestamp) -> anyhow::Result<Leased> {
        self.claim_up_to(1, now).await?.pop().context("nothing to claim")
    }

    /// How many jobs a claim at `now` ends because their time is over.
    pub(crate) async fn ends(&self, now: Timestamp) -> anyhow::Result<usize> {
        let before = self.out_of_time(now).await?;
        self.store.claim(want(0, now), now).await?;
        Ok(self.out_of_time(now).await? - before)
    }

    async fn out_of_time(&self, now: Timestamp) -> anyhow::Result<usize> {
        let jobs = self.walk(JobFilter::default(), 100, now).await?;
        Ok(jobs.iter().filter(|job| job.lifecycle.ended_by().is_some()).count())
    }

    /// The ids of all jobs that can be claimed, in their order.
    pub(crate) async fn claim_all(&self, now: Timestamp) -> anyhow::Result<Vec<JobId>> {
        let leased = self.claim_up_to(usize::MAX, now).await?;
        Ok(leased.iter().map(|leased| leased.job.id).collect())
    }

    /// Ends the attempt with a verdict, and an outcome and output that go with it.
    pub(crate) async fn finish_with(
        &self,
        leased: &Leased,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<Finished, StoreError> {
        self.store.finish(ending(leased, verdict, now).into(), now).await
    }

    /// Enqueues a job, claims it and ends its only attempt.
    pub(crate) async fn finished(&self, verdict: Verdict, now: Timestamp) -> anyhow::Result<JobId> {
        let id = self.accept(job(), now).await?;
        let leased = self.claim_one(now).await?;
        ensure!(leased.job.id == id, "another job was claimed");
        self.finish_with(&leased, verdict, now).await?;
        Ok(id)
    }

    /// A job that must be there.
    pub(crate) async fn job(&self, id: JobId) -> anyhow::Result<Job> {
        self.store.get(id).await?.context("the job is unknown")
    }

    /// The state of a job that must be there.
    pub(crate) async fn state(&self, id: JobId) -> anyhow::Result<JobState> {
        Ok(self.job(id).await?.lifecycle.state)
    }

    /// The counts of a queue that must be there.
    pub(crate) async fn queue(&self, name: &str, now: Timestamp) -> anyhow::Result<QueueCounts> {
        let mut counts = self.store.counts(now).await?.into_iter();
        counts.find(|counts| counts.name.as_str() == name).context("the queue is unknown")
    }

    /// All jobs that match, page by page.
    pub(crate) async fn walk(
        &self,
        filter: JobFilter,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Job>, StoreError> {
        walk(&*self.store, filter, most, now).await
    }
}

/// All jobs of `store` that match, read in pages of `most`.
pub(crate) async fn walk(
    store: &dyn Store,
    filter: JobFilter,
    most: usize,
    now: Timestamp,
) -> Result<Vec<Job>, StoreError> {
    let mut jobs = Vec::new();
    let mut before = None;
    loop {
        let page = store.list(filter.clone(), Page { before, most }, now).await?;
        jobs.extend(page.jobs);
        before = page.next;
        if before.is_none() {
            return Ok(jobs);
        }
    }
}
