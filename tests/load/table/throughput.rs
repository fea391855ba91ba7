//! How many jobs a second are accepted and run, and what one of them costs.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::figures::Figure;
use super::measured::MeasuredHost;
use super::{ALONE, generator, record, rounds, scaled, span};

/// Jobs that wait when the queue is resumed.
const QUEUED: usize = 95_000;

/// Connections that send batches: while one is answered, the next is read.
const BATCH_CONNECTIONS: usize = 4;

/// Jobs that each of them submits.
const BATCH_JOBS: usize = 25_000;

/// The first jobs of a new directory, in one round: what comes later has a longer history.
pub(super) async fn drained() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let host = MeasuredHost::fresh().await?;
    let drain = drain(&host).await?;
    record(Figure::WriterFresh, drain.writer_micros);
    record(Figure::DrainedFresh, drain.per_second);
    Ok(())
}

/// For each new job in the history an old one is removed.
pub(super) async fn drained_at_the_bound() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let host = MeasuredHost::at_the_bound().await?;
    for _ in 0..rounds() {
        let drain = drain(&host).await?;
        record(Figure::Writer, drain.writer_micros);
        record(Figure::Process, drain.process_micros);
        record(Figure::Drained, drain.per_second);
    }
    Ok(())
}

struct Drain {
    per_second: f64,
    /// Processor time a job, from enqueue to finalized.
    writer_micros: f64,
    process_micros: f64,
}

/// Enqueues jobs while the queue is paused, then resumes it until all are finalized.
async fn drain(host: &MeasuredHost) -> anyhow::Result<Drain> {
    let jobs = scaled(QUEUED);
    host.pause().await?;
    let before = host.used()?;
    host.enqueue(jobs).await?;
    let start = Instant::now();
    host.resume().await?;
    host.until_idle().await?;
    let took = start.elapsed();
    let after = host.used()?;
    let micros = |used: Duration| used.as_secs_f64() * 1e6 / jobs as f64;
    Ok(Drain {
        per_second: jobs as f64 / took.as_secs_f64(),
        writer_micros: micros(after.writer - before.writer),
        process_micros: micros(after.process - before.process),
    })
}

/// Each job in a request of its own, from the first request until all jobs are finalized.
pub(super) async fn single_posts() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let host = MeasuredHost::at_the_bound().await?;
    for _ in 0..rounds() {
        let start = Instant::now();
        let load = generator::submit(host.url(), span()).await?;
        host.until_idle().await?;
        record(Figure::Posts, load.accepted as f64 / start.elapsed().as_secs_f64());
        record(Figure::PostP99, load.p99.as_secs_f64() * 1e3);
        record(Figure::PostLongest, load.longest.as_secs_f64() * 1e3);
    }
    Ok(())
}

/// A thousand jobs in each request, from the first request until all jobs are finalized.
pub(super) async fn batches() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let host = MeasuredHost::at_the_bound().await?;
    let jobs = scaled(BATCH_JOBS);
    for _ in 0..rounds() {
        let start = Instant::now();
        try_join_all((0..BATCH_CONNECTIONS).map(|_| host.enqueue(jobs))).await?;
        host.until_idle().await?;
        let total = (BATCH_CONNECTIONS * jobs) as f64;
        record(Figure::Batches, total / start.elapsed().as_secs_f64());
    }
    Ok(())
}
