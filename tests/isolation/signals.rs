//! That the signals which tell a host to stop reach the host alone.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{guests, tests};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::Instant;

use super::dying::NAP;
use super::runners::Isolated;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        attempts_have_their_grace_when_all_processes_of_a_host_are_told_to_stop,
        a_process_that_compiles_goes_on_when_it_is_told_to_stop,
    ]
}

/// What a terminal, or what supervises services, sends to all processes at once.
const SIGNALS: [(&str, u32); 3] = [("INT", 2), ("TERM", 15), ("HUP", 1)];

/// How long something may take that is about to happen.
const SOON: Duration = Duration::from_secs(20);

/// Sends a signal to a process, or with `-` before its number to its group.
async fn signal(name: &str, whom: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args(["-s", name, "--", whom]).status().await?;
    ensure!(sent.success(), "{sent}");
    Ok(())
}

async fn attempts_have_their_grace_when_all_processes_of_a_host_are_told_to_stop()
-> anyhow::Result<()> {
    for (name, _) in &SIGNALS[..2] {
        let host = Isolated::start_in_group().await?;
        host.push("nap", NAP).await?;
        let id = host.submit(json!({ "plugin": "nap" })).await?;
        host.heard(&id).await?;
        let group = host.process.id().context("the host has ended")?;
        signal(name, &format!("-{group}")).await?;
        let job = host.started_again().await?.finalized(&id).await?;
        let ended = (&job["state"], &job["attempt"], &job["attempts"][0]["outcome"]);
        assert_eq!(ended, (&json!("completed"), &json!(1), &json!("succeeded")), "{name}: {job}");
    }
    Ok(())
}

async fn a_process_that_compiles_goes_on_when_it_is_told_to_stop() -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env_clear().env("JOBWRIGHT_COMPILE", format!("fuel 120 {}", 2_u64 << 30));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.kill_on_drop(true).spawn()?;
    let id = process.id().context("it has just started")?;
    let since = Instant::now();
    while !catches_all(id)? {
        ensure!(since.elapsed() < SOON, "it lets signals end it");
        tokio::task::yield_now().await;
    }
    for (name, _) in SIGNALS {
        signal(name, &id.to_string()).await?;
    }
    let mut input = process.stdin.take().context("its input is piped")?;
    input.write_all(&guests::echo()?).await?;
    drop(input);
    let output = process.wait_with_output().await?;
    let notes = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !output.stdout.is_empty(), "{} {notes}", output.status);
    Ok(())
}

/// Whether the process has something to do at each of [`SIGNALS`] but to end.
fn catches_all(process: u32) -> anyhow::Result<bool> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.context("a system tells it")?.trim(), 16)?;
    Ok(SIGNALS.iter().all(|(_, number)| caught & (1 << (number - 1)) != 0))
}
