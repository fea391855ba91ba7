//! Signals that stop a host stop only the host.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{guests, tests};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::Instant;

use super::process_deaths::NAP;
use super::runners::Isolated;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        attempts_get_the_grace_period_when_all_processes_get_a_signal,
        a_compile_process_ignores_signals_to_stop,
    ]
}

/// Signals that a terminal or a service manager sends to all processes of a group.
const SIGNALS: [(&str, u32); 3] = [("INT", 2), ("TERM", 15), ("HUP", 1)];

/// The time limit for events that tests expect soon.
const SOON: Duration = Duration::from_secs(20);

/// Sends a signal to a process, or to a process group if the number is preceded by `-`.
async fn signal(name: &str, target: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args(["-s", name, "--", target]).status().await?;
    ensure!(sent.success(), "{sent}");
    Ok(())
}

async fn attempts_get_the_grace_period_when_all_processes_get_a_signal() -> anyhow::Result<()> {
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

async fn a_compile_process_ignores_signals_to_stop() -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env_clear().env("JOBWRIGHT_COMPILE", format!("fuel 120 {}", 2_u64 << 30));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.kill_on_drop(true).spawn()?;
    let id = process.id().context("it has just started")?;
    let since = Instant::now();
    while !catches_all(id)? {
        ensure!(since.elapsed() < SOON, "the default action of a signal would end the process");
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

/// Whether the process catches each of [`SIGNALS`].
fn catches_all(process: u32) -> anyhow::Result<bool> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.context("a line SigCgt")?.trim(), 16)?;
    Ok(SIGNALS.iter().all(|(_, number)| caught & (1 << (number - 1)) != 0))
}
