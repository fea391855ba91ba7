//! What the machine has.

use std::path::Path;

/// The machine's memory, or the smallest that one of its control groups allows; 4 GiB if none tells.
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

/// The files that may hold a limit on this process's memory, of `groups` as `/proc/self/cgroup` has
/// them: of its group and all groups around it, of either version, and of the group that a
/// container sees as the root.
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
        let around = Path::new(path).ancestors().map(Path::to_string_lossy);
        files.extend(around.map(|path| format!("{mount}{}/{file}", path.trim_end_matches('/'))));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_all_groups_around() {
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
