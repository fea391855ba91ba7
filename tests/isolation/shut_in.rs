//! What a process that runs attempts has of the machine, as the system shows it. What it is denied when
//! it tries is tested beside its sandbox.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use anyhow::ensure;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;

use super::runners::{Isolated, Runner};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        its_system_calls_are_filtered_on_every_thread,
        it_has_no_file_and_no_variable_of_the_host,
        one_that_cannot_begin_says_why,
    ]
}

async fn running() -> anyhow::Result<(Isolated, Runner)> {
    let host = Isolated::start().await?;
    let (_, runner) = host.sleeper(json!({})).await?;
    Ok((host, runner))
}

async fn its_system_calls_are_filtered_on_every_thread() -> anyhow::Result<()> {
    let (_host, runner) = running().await?;
    let mut threads = 0;
    for thread in std::fs::read_dir(runner.path().join("task"))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        for expected in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
            ensure!(status.lines().any(|line| line == expected), "{expected} is not in {status}");
        }
        threads += 1;
    }
    ensure!(threads == 2, "the guest's, and the one that interrupts it: {threads}");
    Ok(())
}

async fn it_has_no_file_and_no_variable_of_the_host() -> anyhow::Result<()> {
    let (_host, runner) = running().await?;
    let Ok(files) = std::fs::read_dir(runner.path().join("fd")) else {
        // It is nobody's to look into but root's.
        return Ok(());
    };
    for file in files {
        let file = std::fs::read_link(file?.path())?;
        let shown = file.to_string_lossy();
        let kinds = ["socket:", "anon_inode:", "/dev/null", "/memfd:"];
        ensure!(kinds.iter().any(|kind| shown.starts_with(kind)), "{shown}");
    }
    let environment = std::fs::read_to_string(runner.path().join("environ"))?;
    assert_eq!(environment, "JOBWRIGHT_RUNNER=1\0");
    let limits = std::fs::read_to_string(runner.path().join("limits"))?;
    let cores = limits.lines().find(|line| line.starts_with("Max core file size"));
    let cores = cores.unwrap_or_default().split_whitespace().nth(4);
    assert_eq!(cores, Some("0"), "{limits}");
    Ok(())
}

async fn one_that_cannot_begin_says_why() -> anyhow::Result<()> {
    let (mut ours, its) = UnixStream::pair()?;
    let mut command = Command::new("sh");
    // Three streams and one more file: what it needs to start, and less than what it needs to go on.
    command.args(["-c", "ulimit -n 4 && exec \"$0\" run-attempts"]).arg(std::env::current_exe()?);
    command.env_clear().env("JOBWRIGHT_RUNNER", "1");
    command.stdin(std::os::fd::OwnedFd::from(its)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn()?;
    // The command has the other end too.
    drop(command);
    let mut said = vec![];
    ours.read_to_end(&mut said)?;
    process.wait()?;
    let said = String::from_utf8_lossy(&said);
    ensure!(said.contains("Too many open files"), "{said}");
    Ok(())
}
