//! Memory and latency of an idle host.

use anyhow::ensure;
use tokio::time::Instant;

use super::figures::Figure;
use super::generator::{Client, JOB};
use super::measured::MeasuredHost;
use super::{ALONE, record, rounds, scaled};
use crate::load::percentile;

/// The number of round trips in a round.
const ROUND_TRIPS: usize = 2_000;

/// Jobs that wait while memory and restart are measured.
const QUEUED: usize = 100_000;

/// From the request to the answer with the finalized job, on one connection.
pub(super) async fn round_trip_of_a_waiting_request() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let host = MeasuredHost::fresh().await?;
    let address = host.url().trim_start_matches("http://");
    let mut client = Client::connect(address, "prefer: wait=10\r\n", JOB).await?;
    for _ in 0..rounds() {
        let mut times = vec![];
        for _ in 0..scaled(ROUND_TRIPS) {
            times.push(client.send("200").await?);
        }
        times.sort_unstable();
        record(Figure::WaitP50, percentile(&times, 50).as_secs_f64() * 1e3);
    }
    Ok(())
}

/// Memory before and after jobs are queued; then how soon a host that was killed is ready again.
pub(super) async fn memory_and_restart() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let mut host = MeasuredHost::empty().await?;
    record(Figure::MemoryIdle, host.memory()? as f64 / 1e6);
    host.push().await?;
    host.pause().await?;
    let jobs = scaled(QUEUED);
    host.enqueue(jobs).await?;
    record(Figure::MemoryQueued, host.memory()? as f64 / 1e6);
    for _ in 0..rounds() {
        let start = Instant::now();
        host = host.killed_and_started().await?;
        record(Figure::Restart, start.elapsed().as_secs_f64());
        let depth = host.depth().await?;
        ensure!(depth == Some(jobs as u64), "of {jobs} jobs there are {depth:?} after a kill");
    }
    Ok(())
}
