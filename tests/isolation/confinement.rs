//! The confinement of attempt processes, as `/proc` shows it. Denied operations are tested next to the code
//! of the sandbox.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{by_another, guests, tests};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;

use super::runners::{Isolated, Runner};

/// The time limit for events that tests expect soon.
const SOON: Duration = Duration::from_secs(20);

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = tests![
        system_calls_of_an_attempt_process_are_filtered_on_every_thread,
        an_attempt_process_that_cannot_start_reports_why,
        a_compile_process_is_confined,
        neither_a_host_nor_its_processes_can_be_traced_by_their_user,
    ];
    // Only root can read the `/proc` files of such a process.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0);
    let looking = tests![
        an_attempt_process_has_no_file_and_no_variable_of_the_host,
        a_compile_process_has_no_file_of_the_host,
    ];
    let kind = if is_root { "" } else { "not the superuser" };
    let looking = looking.into_iter().map(|trial| trial.with_kind(kind));
    trials.extend(looking.map(|trial| trial.with_ignored_flag(!is_root)));
    trials
}

async fn running() -> anyhow::Result<(Isolated, Runner)> {
    let host = Isolated::start().await?;
    let (_, runner) = host.sleeper(json!({})).await?;
    Ok((host, runner))
}

async fn system_calls_of_an_attempt_process_are_filtered_on_every_thread() -> anyhow::Result<()> {
    let (_host, runner) = running().await?;
    let mut threads = 0;
    for thread in std::fs::read_dir(runner.path().join("task"))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        for expected in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
            ensure!(status.lines().any(|line| line == expected), "{expected} is not in {status}");
        }
        threads += 1;
    }
    ensure!(threads == 2, "expected the guest's thread and the epoch thread: {threads}");
    Ok(())
}

async fn an_attempt_process_has_no_file_and_no_variable_of_the_host() -> anyhow::Result<()> {
    let (_host, runner) = running().await?;
    for file in std::fs::read_dir(runner.path().join("fd"))? {
        let file = std::fs::read_link(file?.path())?;
        let shown = file.to_string_lossy();
        let kinds = ["socket:", "anon_inode:", "/dev/null", "/memfd:"];
        ensure!(kinds.iter().any(|kind| shown.starts_with(kind)), "{shown}");
    }
    let environment = std::fs::read_to_string(runner.path().join("environ"))?;
    // Those that its host sets: its task, and small reserves of memory.
    let set = [
        "JOBWRIGHT_RUNNER=1",
        "MALLOC_ARENA_MAX=2",
        "MIMALLOC_ARENA_EAGER_COMMIT=0",
        "MIMALLOC_ARENA_MAX_OBJECT_SIZE=1MiB",
        "MIMALLOC_ARENA_RESERVE=32MiB",
    ];
    assert_eq!(environment.split_terminator('\0').collect::<Vec<_>>(), set);
    let limits = std::fs::read_to_string(runner.path().join("limits"))?;
    let cores = limits.lines().find(|line| line.starts_with("Max core file size"));
    let cores = cores.unwrap_or_default().split_whitespace().nth(4);
    assert_eq!(cores, Some("0"), "{limits}");
    Ok(())
}

async fn an_attempt_process_that_cannot_start_reports_why() -> anyhow::Result<()> {
    let (mut ours, its) = UnixStream::pair()?;
    let mut command = Command::new("sh");
    // Three streams and one more file: enough to start, but too few to continue.
    command.args(["-c", "ulimit -n 4 && exec \"$0\" run-attempts"]).arg(std::env::current_exe()?);
    command.env_clear().env("JOBWRIGHT_RUNNER", "1");
    command.stdin(std::os::fd::OwnedFd::from(its)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn()?;
    // The command keeps the other end open.
    drop(command);
    let mut said = vec![];
    ours.read_to_end(&mut said)?;
    process.wait()?;
    let said = String::from_utf8_lossy(&said);
    ensure!(said.contains("Too many open files"), "{said}");
    Ok(())
}

/// Starts a compile process that inherits an open file, and waits until it reads the plugin.
async fn compiling() -> anyhow::Result<Child> {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", "exec 9</etc/hostname && exec \"$0\" compile-plugin"]);
    command.arg(std::env::current_exe()?);
    confined(command).await
}

/// Starts a compile process, and waits until it reads the plugin.
async fn confined(mut command: tokio::process::Command) -> anyhow::Result<Child> {
    command.env_clear().env("JOBWRIGHT_COMPILE", format!("fuel 120 {}", 2_u64 << 30));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn()?;
    let status = format!("/proc/{}/status", child.id().context("it has just started")?);
    let since = tokio::time::Instant::now();
    while !std::fs::read_to_string(&status)?.contains("Seccomp:\t2") {
        ensure!(since.elapsed() < SOON, "it is not confined");
        tokio::task::yield_now().await;
    }
    Ok(child)
}

async fn a_compile_process_has_no_file_of_the_host() -> anyhow::Result<()> {
    let child = compiling().await?;
    let process = child.id().context("it waits for the plugin")?;
    for file in std::fs::read_dir(format!("/proc/{process}/fd"))? {
        let shown = std::fs::read_link(file?.path())?.to_string_lossy().into_owned();
        let kinds = ["pipe:", "socket:", "anon_inode:"];
        ensure!(kinds.iter().any(|kind| shown.starts_with(kind)), "{shown}");
    }
    Ok(())
}

async fn a_compile_process_is_confined() -> anyhow::Result<()> {
    let mut child = compiling().await?;
    let process = format!("/proc/{}", child.id().context("it waits for the plugin")?);
    let status = std::fs::read_to_string(format!("{process}/status"))?;
    ensure!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
    let limits = std::fs::read_to_string(format!("{process}/limits"))?;
    for (limit, value) in
        [("Max open files", "64"), ("Max core file size", "0"), ("Max file size", "0")]
    {
        let line = limits.lines().find(|line| line.starts_with(limit)).context(limit)?;
        ensure!(line[limit.len()..].split_whitespace().next() == Some(value), "{line}");
    }
    // The confined process can compile.
    let mut input = child.stdin.take().context("its input is piped")?;
    input.write_all(&guests::echo()?).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    let notes = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !output.stdout.is_empty(), "{} {notes}", output.status);
    // Not every kernel has landlock; all have the rest.
    let lacks = |line: &str| line.starts_with("the sandbox lacks ") && line.contains("landlock");
    ensure!(notes.lines().all(lacks), "{notes}");
    Ok(())
}

/// Checks that the `/proc` folder of a process belongs to root: then other processes of the same user
/// cannot trace it, and it dumps no core.
fn is_kept_from_its_user(process: &Path) -> anyhow::Result<()> {
    const ROOT: (u32, u32) = (0, 0);
    let owner = |path: &Path| std::fs::metadata(path).map(|about| (about.uid(), about.gid()));
    ensure!(owner(process)? != ROOT, "{} belongs to root", process.display());
    let (user, group) = owner(&process.join("mem"))?;
    ensure!((user, group) == ROOT, "{} is open to {user}:{group}", process.display());
    Ok(())
}

async fn neither_a_host_nor_its_processes_can_be_traced_by_their_user() -> anyhow::Result<()> {
    let host = Isolated::start_by_another().await?;
    let id = host.process.id().context("it runs")?;
    is_kept_from_its_user(&PathBuf::from(format!("/proc/{id}")))?;
    let runners = host.runners()?;
    is_kept_from_its_user(runners.first().context("there is one from the start")?.path())?;
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    by_another(command.arg("compile-plugin"));
    let child = confined(command).await?;
    let id = child.id().context("it waits for the plugin")?;
    is_kept_from_its_user(&PathBuf::from(format!("/proc/{id}")))
}
