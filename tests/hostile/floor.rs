//! What the suite leaves behind in the host's memory.
//!
//! The trial is the last of the suite: it waits for all others that run, and then compares.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use jobwright_core::limits::show_bytes;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::Instant;

use super::guests::{Kind, times};
use super::stage::{Host, Stage};

/// What a process has in memory, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Resident {
    /// All of it.
    pub(super) whole: u64,
    /// What no file backs: the system cannot take it back.
    pub(super) own: u64,
    /// The most that it ever had.
    pub(super) peak: u64,
}

impl Resident {
    /// What the process `id` has, which must be running.
    pub(super) fn of(id: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib << 10).with_context(|| format!("the process {id} tells no {name}"))
        };
        let own = field("RssAnon")? + field("RssShmem")?;
        Ok(Self { whole: field("VmRSS")?, own, peak: field("VmHWM")? })
    }
}

/// Attempts that the host makes at one time.
const SLOTS: usize = 8;

/// Does with `host` what it does for ordinary guests of every kind, in every slot at once: what it
/// keeps of that, it keeps for good.
pub(super) async fn warm_up(stage: &Stage, host: &Host) -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let plugin = stage.name();
        // More than is kept of each slot's memory.
        let grow = "(drop (memory.grow (i32.const 32)))
            (memory.fill (i32.const 4096) (i32.const 7) (i32.const 0x200000))";
        host.accepts(&plugin, kind.guest("", grow)()?).await?;
        let job = || host.run(json!({ "plugin": plugin }));
        for job in try_join_all((0..SLOTS).map(|_| job())).await? {
            ensure!(job["state"] == "completed", "{job}");
        }
    }
    Ok(())
}

/// Kept of each small plugin: its code, the types and names in it, and its entry on the shelf.
const SMALL_BYTES: u64 = 128 << 10;

/// Kept of each large one, which is some times the size of its code: an import takes 160 bytes, and is
/// written down in 12.
const LARGE_BYTES: u64 = 24 << 20;

/// Kept of the pool, beyond what warming up has touched: 1 MiB of each memory that was ever used.
const POOL_BYTES: u64 = 32 << 20;

/// What the allocator does not give back at once of what it had. Where buffers of 32 MiB have been,
/// glibc's keeps up to 64 MiB at the end of each of its arenas, one for each of the threads that had
/// them: of two uploads at a time.
const HEAP_BYTES: u64 = 2 * (64 << 20);

/// What rounds of the same guests may add: nothing, but for the slots that no guest has come to yet,
/// of 16 attempts. It is half of what one of those guests takes.
const ROUND_BYTES: u64 = 32 << 20;

pub(super) fn of_guests(stage: Arc<Stage>) -> Trial {
    stage.trial("floor::guests_leave_no_memory_taken", |stage| async move {
        returns(&stage, SMALL_BYTES).await?;
        rounds_add_nothing(&stage).await
    })
}

pub(super) fn of_large_plugins(stage: Arc<Stage>) -> Trial {
    stage.trial("floor::large_plugins_take_no_more_than_their_code", |stage| async move {
        returns(&stage, LARGE_BYTES).await
    })
}

/// Holds if the host has little more than before the first trial: `each` of the plugins that it took.
async fn returns(stage: &Arc<Stage>, each: u64) -> anyhow::Result<()> {
    let host = stage.host().await?;
    // Each trial holds the stage until it has ended; this one does so twice.
    until(Duration::from_secs(300), || Arc::strong_count(stage) <= 2).await?;
    let plugins = std::fs::read_dir(host.data().join("compiled"))?.count() as u64;
    // The store keeps pages of its files in memory, up to a bound of its own.
    let pages = size_of(&host.data())?;
    let most = plugins * each + POOL_BYTES + HEAP_BYTES + pages;
    let (before, after) = (host.before, host.resident()?);
    println!(
        "{plugins} plugins and {} MiB of jobs kept: {} MiB ({} of its own) before, {} ({}) after, at \
         most {}; the slowest answer took {:?}",
        pages >> 20,
        before.whole >> 20,
        before.own >> 20,
        after.whole >> 20,
        after.own >> 20,
        after.peak >> 20,
        stage.slowest()
    );
    added(before, after, most)
}

/// What the files in a folder hold, without those in folders of their own.
fn size_of(folder: &Path) -> anyhow::Result<u64> {
    let mut size = 0;
    for file in std::fs::read_dir(folder)? {
        let about = file?.metadata()?;
        size += if about.is_file() { about.len() } else { 0 };
    }
    Ok(size)
}

fn added(before: Resident, after: Resident, most: u64) -> anyhow::Result<()> {
    let more = after.own.saturating_sub(before.own);
    ensure!(more <= most, "{} more, and not {}", show_bytes(more), show_bytes(most));
    Ok(())
}

/// How often the same guests run again.
const ROUNDS: usize = 8;

/// Holds if guests that take all that they may leave nothing, however often they run.
async fn rounds_add_nothing(stage: &Stage) -> anyhow::Result<()> {
    let (host, mut jobs) = (stage.host().await?, vec![]);
    // All of the default limit, but for some pages.
    let grow = "(drop (memory.grow (i32.const 900)))
        (memory.fill (i32.const 65536) (i32.const 7) (i32.const 50000000))";
    for kind in Kind::ALL {
        for guest in [
            kind.guest("", &format!("{grow} unreachable")),
            kind.guest("", &times(100, &kind.logs(60_000))),
            kind.ending("", "", &kind.leaves(100_000)),
        ] {
            let plugin = stage.name();
            host.accepts(&plugin, guest()?).await?;
            // Of log and output nothing is kept: the store would have it in memory for a while.
            let limits = json!({ "log_bytes": 1_000, "output_bytes": 50_000 });
            jobs.push(json!({ "plugin": plugin, "limits": limits }));
        }
    }
    let round = async || {
        try_join_all(jobs.iter().map(|job| host.run(job.clone()))).await?;
        host.resident()
    };
    let before = host.resident()?;
    let mut rounds = vec![];
    for _ in 0..ROUNDS {
        let after = round().await?;
        rounds.push(after.own >> 20);
        // Also what the last guests had is given back at their end, not when others need it.
        added(before, after, ROUND_BYTES)?;
    }
    println!("{} MiB of its own before, {rounds:?} after each round", before.own >> 20);
    Ok(())
}

/// Returns when `condition` holds, and fails if it does not in time.
async fn until(patience: Duration, condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let since = Instant::now();
    while !condition() {
        ensure!(since.elapsed() < patience, "not within {patience:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
