//! Facts about a process and the machine, from `/proc`.

use std::fs::read_to_string;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

use crate::load::percentile;

/// The unit of times in `/proc`: `USER_HZ` is 100 on each architecture that this project runs on. The
/// kernel scales the ticks to the exact time that it counts, so a total is at most two ticks off.
const TICK: Duration = Duration::from_millis(10);

/// Processor time that a process has used, with all of its threads.
pub(super) fn time_of_process(process: u32) -> anyhow::Result<Duration> {
    time(&Path::new("/proc").join(process.to_string()))
}

/// Processor time that the threads with this name have used.
pub(super) fn time_of_thread(process: u32, name: &str) -> anyhow::Result<Duration> {
    let mut total = None;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let folder = thread?.path();
        // Threads of others end at any time.
        if read_to_string(folder.join("comm")).is_ok_and(|found| found.trim_end() == name) {
            total = Some(total.unwrap_or_default() + time(&folder)?);
        }
    }
    total.with_context(|| format!("the host has no thread `{name}`"))
}

fn time(folder: &Path) -> anyhow::Result<Duration> {
    let text = read_to_string(folder.join("stat"))?;
    // The name comes second, in parentheses, and can contain anything.
    let (_, rest) = text.rsplit_once(')').context("a name in parentheses")?;
    let mut times = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let (Some(Ok(user)), Some(Ok(system))) = (times.next(), times.next()) else {
        bail!("no times in `{text}`");
    };
    Ok(TICK * (user + system))
}

/// Memory of a process that is in RAM, in bytes.
pub(super) fn memory(process: u32) -> anyhow::Result<u64> {
    let text = read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")).context("no VmRSS")?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}

/// The facts that the figures depend on: the cores, and the time of a sync.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let sync = match sync_times() {
        Ok(times) => {
            let [p50, p99] = [50, 99].map(|percent| percentile(&times, percent));
            format!("fdatasync p50 {p50:.2?}, p99 {p99:.2?}")
        }
        Err(error) => format!("fdatasync not measured: {error}"),
    };
    format!("machine: {cores} cores, {sync}")
}

/// How long it takes to append a page to a file and sync it, sorted.
fn sync_times() -> std::io::Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR"))?;
    let mut times = vec![];
    for _ in 0..200 {
        file.write_all(&[1; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}
