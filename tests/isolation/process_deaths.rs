//! What happens when a process that runs attempts, or its host, dies.

use anyhow::{Context as _, ensure};
use jobwright_tests::{jobwright, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::runners::Isolated;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_killed_process_fails_one_attempt_and_no_other,
        a_process_killed_while_idle_fails_no_attempt,
        an_unresponsive_process_is_killed_at_the_deadline,
        an_unresponsive_process_is_killed_when_its_job_is_cancelled,
        a_replay_reports_that_the_process_of_the_attempt_died,
        a_stopped_host_leaves_no_process_behind,
        a_killed_host_leaves_no_process_behind,
    ]
}

/// Sleeps for two seconds, and succeeds.
pub(super) const NAP: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "started\n")
  (data (i32.const 0) "\40\00\00\00\08\00\00\00")
  (func (export "_start")
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16)))
    (i32.store (i32.const 144) (i32.const 1))
    (i64.store (i32.const 152) (i64.const 2000000000))
    (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 32)))))"#;

async fn a_killed_process_fails_one_attempt_and_no_other() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    let (job, runner) = host.sleeper(json!({})).await?;
    host.push("nap", NAP).await?;
    let mut neighbours = vec![];
    for _ in 0..3 {
        neighbours.push(host.submit(json!({ "plugin": "nap" })).await?);
    }
    for neighbour in &neighbours {
        host.heard(neighbour).await?;
    }
    runner.signal("KILL").await?;
    let tried = host.tried(&job).await?;
    let attempt = &tried["attempts"][0];
    assert_eq!(attempt["outcome"], "trapped", "{tried}");
    assert_eq!(attempt["error"]["code"], "process_died");
    let message = attempt["error"]["message"].as_str().context("a message")?;
    ensure!(message.contains("was ended by signal 9 (SIGKILL"), "{message}");
    assert_eq!(tried["state"], "retryable", "the job is not retried: {tried}");
    for neighbour in neighbours {
        let job = host.finalized(&neighbour).await?;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job}");
    }
    Ok(())
}

async fn a_process_killed_while_idle_fails_no_attempt() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    host.push("nap", NAP).await?;
    let runners = host.runners()?;
    ensure!(runners.len() == 1, "{runners:?}");
    runners[0].signal("KILL").await?;
    runners[0].gone().await?;
    let job = host.finalized(&host.submit(json!({ "plugin": "nap" })).await?).await?;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job}");
    Ok(())
}

async fn an_unresponsive_process_is_killed_at_the_deadline() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    // Time enough for the log to be seen.
    let limits = json!({ "timeout_ms": 4_000, "grace_ms": 1 });
    let (job, runner) = host.sleeper(limits).await?;
    runner.signal("STOP").await?;
    let tried = host.tried(&job).await?;
    let attempt = &tried["attempts"][0];
    assert_eq!(
        (&attempt["outcome"], &attempt["limit"]),
        (&json!("limit_exceeded"), &json!("time"))
    );
    let message = attempt["error"]["message"].as_str().context("a message")?;
    ensure!(message.contains("its process did not answer and was killed"), "{message}");
    runner.gone().await
}

/// The longest grace period that a job may have.
const GRACE_MS: u32 = 10_000;

async fn an_unresponsive_process_is_killed_when_its_job_is_cancelled() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    // The guest never polls for cancellation, so the grace period does not apply.
    let (job, runner) = host.sleeper(json!({ "grace_ms": GRACE_MS })).await?;
    runner.signal("STOP").await?;
    let url = format!("{}/v1/jobs/{job}/cancel", host.process.url());
    reqwest::Client::new().post(url).send().await?.error_for_status()?;
    let job = host.finalized(&job).await?;
    assert_eq!(job["state"], "cancelled", "{job}");
    let ran = job["attempts"][0]["usage"]["run_ms"].as_f64().context("a receipt")?;
    ensure!(ran > 0.0 && ran < f64::from(GRACE_MS), "{job}");
    runner.gone().await
}

async fn a_replay_reports_that_the_process_of_the_attempt_died() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    let (job, runner) = host.sleeper(json!({ "timeout_ms": 2_000 })).await?;
    runner.signal("KILL").await?;
    host.tried(&job).await?;
    let mut replay = jobwright(["replay", &job, "--attempt", "1", "--json"])?;
    let replay = replay.env("JOBWRIGHT_HOST", host.process.url()).output().await?;
    let said = String::from_utf8_lossy(&replay.stderr);
    let receipt: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    let notes = receipt["replay"]["notes"].to_string();
    ensure!(notes.contains("the recorded attempt was ended by its host"), "{said}");
    let found = receipt["replay"]["differences"].as_array().context("differences")?;
    ensure!(found.iter().all(|found| found["what"] != "fuel"), "{said}");
    Ok(())
}

async fn a_stopped_host_leaves_no_process_behind() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    let (job, _) = host.sleeper(json!({})).await?;
    host.push("nap", NAP).await?;
    host.finalized(&host.submit(json!({ "plugin": "nap" })).await?).await?;
    let url = format!("{}/v1/jobs/{job}/cancel", host.process.url());
    reqwest::Client::new().post(url).send().await?.error_for_status()?;
    let runners = host.runners()?;
    ensure!(runners.len() == 2, "{runners:?}");
    let id = host.process.id().context("the host has ended")?.to_string();
    let told = tokio::process::Command::new("kill").args(["-TERM", &id]).status().await?;
    ensure!(told.success() && host.process.ended().await?.success());
    for runner in runners {
        runner.gone().await?;
    }
    Ok(())
}

async fn a_killed_host_leaves_no_process_behind() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    let (_, stopped) = host.sleeper(json!({})).await?;
    // Not even a stopped process, which cannot notice the death of its host.
    stopped.signal("STOP").await?;
    let id = host.submit(json!({ "plugin": "sleep" })).await?;
    host.heard(&id).await?;
    let runners = host.runners()?;
    ensure!(runners.len() == 2, "{runners:?}");
    host.process.kill().await?;
    for runner in runners {
        runner.gone().await?;
    }
    Ok(())
}
