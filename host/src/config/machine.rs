//! The memory of the machine.

use std::path::Path;

/// The memory that this process can use, in bytes: that of the machine, or the lowest limit of its control
/// groups. 4 GiB if neither can be read.
pub(super) fn memory() -> u64 {
    let text = |path: &str| std::fs::read_to_string(path).ok();
    let total = text("/proc/meminfo").and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    });
    let groups = text("/proc/self/cgroup").unwrap_or_default();
    let limits =
        group_limits(&groups).into_iter().filter_map(|file| text(&file)?.trim().parse().ok());
    total.into_iter().chain(limits).min().unwrap_or(4 << 30)
}

/// The files that can have a memory limit for this process. `groups` is the content of
/// `/proc/self/cgroup`. Includes the group of the process, all of its ancestors, and the root that a
/// container sees, for both versions of control groups.
fn group_limits(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for group in groups.lines() {
        let mut parts = group.splitn(3, ':');
        let (Some(_), Some(kinds), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (mount, file) = match kinds {
            "" => ("/sys/fs/cgroup", "memory.max"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let ancestors = Path::new(path).ancestors().map(Path::to_string_lossy);
        files.extend(ancestors.map(|path| format!("{mount}{}/{file}", path.trim_end_matches('/'))));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_all_enclosing_groups() {
        assert_eq!(
            group_limits("0::/system.slice/jobwright.service\n"),
            [
                "/sys/fs/cgroup/system.slice/jobwright.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(
            group_limits("5:cpu,memory:/a\n4:pids:/b\n"),
            [
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
    }
}
