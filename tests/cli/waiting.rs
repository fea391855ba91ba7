//! `jobwright job submit --wait` and `job wait`: what they print.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use jobwright_tests::{guests, tests};
use libtest_mimic::Trial;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        the_id_is_printed_before_the_wait_and_a_signal_says_that_the_job_continues,
        a_failed_attempt_is_reported_with_the_time_of_the_next,
        a_job_that_expires_ends_the_wait_and_is_listed_and_retried_by_its_state,
    ]
}

async fn the_id_is_printed_before_the_wait_and_a_signal_says_that_the_job_continues()
-> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push sleep.wasm").await?;
    for signal in ["-INT", "-TERM"] {
        wait_is_stopped(&shell, signal).await?;
    }
    Ok(())
}

async fn wait_is_stopped(shell: &Shell, signal: &str) -> anyhow::Result<()> {
    let mut command = shell.command("job submit sleep --wait")?;
    let mut waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut notes = BufReader::new(waiting.stderr.take().context("it is piped")?).lines();
    let first = notes.next_line().await?.context("a line")?;
    let id = first.strip_prefix("job ").context(first.clone())?.to_owned();
    while shell.host.job(&id).await?["state"] != "running" {
        tokio::task::yield_now().await;
    }
    let process = waiting.id().context("it runs")?.to_string();
    ensure!(Command::new("kill").args([signal, &process]).status().await?.success());
    let last = notes.next_line().await?.context("another line")?;
    ensure!(last.contains("the job continues") && last.contains(&id), "{last}");
    assert_eq!(waiting.wait().await?.code(), Some(130));
    assert_eq!(shell.host.job(&id).await?["state"], "running");
    shell.text(&format!("job cancel {id}")).await?;
    Ok(())
}

async fn a_failed_attempt_is_reported_with_the_time_of_the_next() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let again = guests::assemble(&guests::exit(75))?;
    std::fs::write(shell.folder.path().join("again.wasm"), again)?;
    shell.text("plugin push again.wasm").await?;
    let mut command = shell.command("job submit again --wait --max-attempts 2")?;
    let output = command.output().await?;
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(3), "{notes}");
    ensure!(
        notes.contains("attempt 1 failed: ") && notes.contains("; next attempt at 2"),
        "{notes}"
    );
    Ok(())
}

async fn a_job_that_expires_ends_the_wait_and_is_listed_and_retried_by_its_state()
-> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    shell.text("queue pause default").await?;
    let submit = "job submit echo --data hi --ttl 50ms --deadline 1h --wait";
    let output = shell.command(submit)?.output().await?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(3), "{shown}");
    ensure!(shown.contains("state         expired"), "{shown}");
    let bounds = shown.lines().filter(|line| line.ends_with(", which ended the job"));
    ensure!(bounds.count() == 1 && shown.contains("\ndeadline_at   20"), "{shown}");
    let listed = shell.json("job list --state expired").await?;
    ensure!(listed.as_array().is_some_and(|jobs| jobs.len() == 1), "{listed}");
    assert_eq!(shell.text("job retry --state expired --yes").await?, "retried 1 job\n");
    shell.text("queue resume default").await?;
    let id = listed[0]["id"].as_str().context("an id")?;
    ensure!(shell.text(&format!("job wait {id}")).await?.contains("completed"));
    Ok(())
}
