//! Power that is lost: of what was written since a file was last synced, each sector has reached the
//! disk or has not.

use std::sync::Arc;
use std::time::Duration;

use jobwright_tests::Running;
use tokio::time::sleep;

use super::Test;
use super::shim::{Shim, Stage};

pub(super) const TESTS: &[Test] =
    &[("integration::faults::what_was_acknowledged_survives_a_power_loss", |shim| {
        Box::pin(what_was_acknowledged_survives_a_power_loss(shim)) as Running
    })];

/// How often the power is lost.
const LOSSES: usize = 20;

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// The files of the stores. The index beside a write-ahead log is not among them: it is memory.
const FILES: [&str; 4] = ["jobs.db", "jobs.db-wal", "logs.db", "logs.db-wal"];

/// How much of what was not synced has reached the disk.
#[derive(Debug, Clone, Copy)]
enum Reached {
    Nothing,
    Some,
    All,
}

async fn what_was_acknowledged_survives_a_power_loss(shim: Arc<Shim>) -> anyhow::Result<()> {
    let stage = Stage::new(shim)?;
    let mut host = stage.start_first().await?;
    let mut dropped = 0;
    for loss in 0..LOSSES {
        let clients = stage.submit_until_refused(host.url());
        sleep(Duration::from_micros(10_000 + u64::from(rand::random::<u16>()) * 2)).await;
        host.kill().await?;
        for client in clients {
            client.await?;
        }
        let reached = [Reached::Nothing, Reached::Some, Reached::Some, Reached::All][loss % 4];
        dropped += lose_power(&stage, reached)?;
        host = stage.start().await?;
        stage.all_are_there(&host).await.map_err(|e| e.context(format!("{reached:?} reached")))?;
    }
    let jobs = stage.all_are_completed(&host).await?;
    println!("{LOSSES} power losses, {dropped} sectors dropped, {jobs} jobs completed");
    Ok(())
}

/// Leaves in the data directory what a disk may hold after a power loss; answers how many sectors
/// that were written it does not hold.
fn lose_power(stage: &Stage, reached: Reached) -> anyhow::Result<usize> {
    let mut dropped = 0;
    for file in FILES {
        let path = stage.data.path().join(file);
        let written = std::fs::read(&path).unwrap_or_default();
        let mut disk = std::fs::read(stage.synced(file)).unwrap_or_default();
        let longer = written.len().max(disk.len());
        // The length is data too: it may be the old one, the new one, or between.
        disk.resize(longer, 0);
        let mut end = std::fs::metadata(stage.synced(file)).map_or(0, |it| it.len()) as usize;
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
        // That is what the disk is bound to hold from now on.
        std::fs::write(stage.synced(file), &disk)?;
    }
    let _ = std::fs::remove_file(stage.data.path().join("jobs.db-shm"));
    let _ = std::fs::remove_file(stage.data.path().join("logs.db-shm"));
    Ok(dropped)
}
