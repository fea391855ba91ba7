//! The memory that the suite leaves allocated in the host.
//!
//! These tests come last: they wait for all others of the suite, and then compare.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use jobwright_core::limits::show_bytes;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::Instant;

use super::fixture::{Fixture, Host};
use super::guests::{Kind, times};

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Resident {
    /// All resident memory.
    pub(super) whole: u64,
    /// Anonymous memory, which the system cannot reclaim.
    pub(super) own: u64,
    /// The peak of the resident memory.
    pub(super) peak: u64,
}

impl Resident {
    /// The memory of the process `id`, which must be running.
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

/// Runs ordinary guests of every kind in every slot at once: memory that the host keeps for that is not
/// a leak.
pub(super) async fn warm_up(fixture: &Fixture, host: &Host) -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let plugin = fixture.name();
        // More than the pool keeps of each slot's memory.
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

/// Kept for each small plugin: its code, types and names, and its entry in the index.
const SMALL_BYTES: u64 = 128 << 10;

/// Kept for each large plugin, which is several times the size of its code: an import takes 160 bytes in
/// memory and 12 bytes in the file.
const LARGE_BYTES: u64 = 24 << 20;

/// Kept by the pool in addition to the warm-up: 1 MiB of each memory that was ever used.
const POOL_BYTES: u64 = 32 << 20;

/// Kept by the allocator. After buffers of 32 MiB, glibc keeps up to 64 MiB at the end of each arena; two
/// uploads at a time use two arenas.
const HEAP_BYTES: u64 = 2 * (64 << 20);

/// How much rounds of the same guests may add: nothing except for slots, of 16, that were not used yet.
/// This is half of the memory of one of those guests.
const ROUND_BYTES: u64 = 32 << 20;

pub(super) fn of_guests(fixture: Arc<Fixture>) -> Trial {
    fixture.trial("leftovers::guests_leave_no_memory_allocated", |fixture| async move {
        returns(&fixture, SMALL_BYTES).await?;
        rounds_add_nothing(&fixture).await
    })
}

pub(super) fn of_large_plugins(fixture: Arc<Fixture>) -> Trial {
    fixture.trial("leftovers::large_plugins_take_no_more_than_their_code", |fixture| async move {
        returns(&fixture, LARGE_BYTES).await
    })
}

/// Checks that the host has little more memory than before the first test: `each` bytes for each accepted
/// plugin.
async fn returns(fixture: &Arc<Fixture>, each: u64) -> anyhow::Result<()> {
    let host = fixture.host().await?;
    // Each running test has a reference to the fixture; this one has two.
    until(Duration::from_secs(300), || Arc::strong_count(fixture) <= 2).await?;
    let plugins = std::fs::read_dir(host.data().join("compiled"))?.count() as u64;
    // The page cache of the store is bounded separately.
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
        fixture.slowest()
    );
    added(before, after, most)
}

/// The size of the files in a folder, without subfolders.
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

/// The number of rounds of the same guests.
const ROUNDS: usize = 8;

/// Checks that guests that use all of their limits leave no memory allocated, however often they run.
async fn rounds_add_nothing(fixture: &Fixture) -> anyhow::Result<()> {
    let (host, mut jobs) = (fixture.host().await?, vec![]);
    // The default limit, except for some pages.
    let grow = "(drop (memory.grow (i32.const 900)))
        (memory.fill (i32.const 65536) (i32.const 7) (i32.const 50000000))";
    for kind in Kind::ALL {
        for guest in [
            kind.guest("", &format!("{grow} unreachable")),
            kind.guest("", &times(100, &kind.logs(60_000))),
            kind.ending("", "", &kind.leaves(100_000)),
        ] {
            let plugin = fixture.name();
            host.accepts(&plugin, guest()?).await?;
            // No log and output is kept: the store would have them in memory for a while.
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
        // The memory of the last guests is freed at their end, not when others need it.
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
