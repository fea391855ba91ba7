//! Commands that are stopped by a signal.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use tokio::process::Command;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_stopped_replay_compares_nothing_and_leaves_no_files,
        a_run_that_is_stopped_cancels_its_attempt,
    ]
}

async fn a_run_that_is_stopped_cancels_its_attempt() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir()?;
        let is_empty = || anyhow::Ok(folder.path().read_dir()?.next().is_none());
        let mut command = shell.command("run sleep.wasm --data x")?;
        command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = command.spawn()?;
        while is_empty()? {
            ensure!(run.try_wait()?.is_none(), "it ended before it was stopped");
            tokio::task::yield_now().await;
        }
        let process = run.id().context("it runs")?.to_string();
        ensure!(Command::new("kill").args(["-s", signal, &process]).status().await?.success());
        let ended = run.wait_with_output().await?;
        let shown = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.code() == Some(4), "{signal}: {} {shown}", ended.status);
        ensure!(shown.contains("cancelled\n") && is_empty()?, "{signal}: {shown}");
    }
    Ok(())
}

async fn a_stopped_replay_compares_nothing_and_leaves_no_files() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push sleep.wasm").await?;
    let id = shell.text("job submit sleep").await?;
    while shell.host.job(id.trim()).await?["state"] != "running" {
        tokio::task::yield_now().await;
    }
    shell.text(&format!("job cancel {}", id.trim())).await?;
    shell.host.finalized(id.trim()).await?;
    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir()?;
        let is_empty = || anyhow::Ok(folder.path().read_dir()?.next().is_none());
        let mut command = shell.command(&format!("replay {}", id.trim()))?;
        command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut replay = command.spawn()?;
        while is_empty()? {
            ensure!(replay.try_wait()?.is_none(), "it ended before it was stopped");
            tokio::task::yield_now().await;
        }
        let process = replay.id().context("it runs")?.to_string();
        ensure!(Command::new("kill").args(["-s", signal, &process]).status().await?.success());
        let ended = replay.wait_with_output().await?;
        let shown = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.code() == Some(130), "{signal}: {} {shown}", ended.status);
        ensure!(shown == "error: stopped: nothing was compared\n", "{signal}: {shown}");
        ensure!(is_empty()?, "{signal}: something is left");
    }
    Ok(())
}
