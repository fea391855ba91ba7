//! Power loss: of the data written since the last sync of a file, each sector may or may not have reached
//! the disk.

use std::sync::Arc;
use std::time::Duration;

use jobwright_tests::Running;
use tokio::time::sleep;

use super::Test;
use super::shim::{Fixture, Shim};

pub(super) const TESTS: &[Test] =
    &[("integration::faults::acknowledged_jobs_survive_a_power_loss", |shim| {
        Box::pin(acknowledged_jobs_survive_a_power_loss(shim)) as Running
    })];

/// The number of power losses.
const LOSSES: usize = 20;

/// The unit that a disk writes atomically, in bytes.
const SECTOR: usize = 512;

/// The files of the stores. The `-shm` index of a write-ahead log is not among them: it is shared memory.
const FILES: [&str; 4] = ["jobs.db", "jobs.db-wal", "logs.db", "logs.db-wal"];

/// How much of the unsynced data has reached the disk.
#[derive(Debug, Clone, Copy)]
enum Reached {
    Nothing,
    Some,
    All,
}

async fn acknowledged_jobs_survive_a_power_loss(shim: Arc<Shim>) -> anyhow::Result<()> {
    let fixture = Fixture::new(shim)?;
    let mut host = fixture.start_first().await?;
    let mut dropped = 0;
    for loss in 0..LOSSES {
        let clients = fixture.submit_until_refused(host.url());
        sleep(Duration::from_micros(10_000 + u64::from(rand::random::<u16>()) * 2)).await;
        host.kill().await?;
        for client in clients {
            client.await?;
        }
        let reached = [Reached::Nothing, Reached::Some, Reached::Some, Reached::All][loss % 4];
        dropped += lose_power(&fixture, reached)?;
        host = fixture.start().await?;
        fixture
            .all_are_there(&host)
            .await
            .map_err(|e| e.context(format!("{reached:?} reached")))?;
    }
    let jobs = fixture.all_are_completed(&host).await?;
    println!("{LOSSES} power losses, {dropped} sectors dropped, {jobs} jobs completed");
    Ok(())
}

/// Leaves in the data directory what a disk may hold after a power loss; returns how many written
/// sectors are missing.
fn lose_power(fixture: &Fixture, reached: Reached) -> anyhow::Result<usize> {
    let mut dropped = 0;
    for file in FILES {
        let path = fixture.data.path().join(file);
        let written = std::fs::read(&path).unwrap_or_default();
        let mut disk = std::fs::read(fixture.synced(file)).unwrap_or_default();
        let longer = written.len().max(disk.len());
        // The length of the file is not synced either: it may be the old one, the new one, or between.
        disk.resize(longer, 0);
        let mut end = std::fs::metadata(fixture.synced(file)).map_or(0, |it| it.len()) as usize;
        for (number, sector) in disk.chunks_mut(SECTOR).enumerate() {
            let begin = number * SECTOR;
            let new = written.get(begin..written.len().min(begin + sector.len())).unwrap_or(&[]);
            let reached = match reached {
                Reached::Nothing => false,
                Reached::Some => rand::random(),
                Reached::All => true,
            };
            if sector[..new.len().min(sector.len())] == *new && begin + new.len() <= end {
                continue;
            }
            if reached {
                sector[..new.len()].copy_from_slice(new);
                end = end.max(begin + new.len());
            } else {
                dropped += 1;
            }
        }
        if matches!(reached, Reached::All) {
            end = written.len();
        }
        disk.truncate(end);
        std::fs::write(&path, &disk)?;
        // From now on this is the synced content.
        std::fs::write(fixture.synced(file), &disk)?;
    }
    let _ = std::fs::remove_file(fixture.data.path().join("jobs.db-shm"));
    let _ = std::fs::remove_file(fixture.data.path().join("logs.db-shm"));
    Ok(dropped)
}
