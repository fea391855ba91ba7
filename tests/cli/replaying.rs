//! `jobwright replay`: repeats an attempt of a host, and compares the results.

use std::num::NonZeroU32;
use std::process::Output;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use jobwright_core::clock::Timestamp;
use jobwright_core::limits::Fuel;
use jobwright_core::services::CapabilityProvider;
use jobwright_core::store::StoreError;
use jobwright_core::{Capabilities, Grants, Job, LogBuffer};
use jobwright_tests::{TestHost, components, guests, tests};
use libtest_mimic::Trial;
use serde_json::Value;

use super::{READINGS, Shell};
use crate::api::granting;
use crate::runtime::extism;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_failed_job_is_replayed_with_the_same_trap_output_and_fuel,
        deterministic_jobs_of_every_kind_replay_the_same,
        a_job_that_is_not_deterministic_replays_the_same_random_bytes,
        an_attempt_that_was_deterministic_no_longer_replays_the_same,
        a_replay_needs_the_scope_to_read_and_the_scope_to_replay,
        a_replay_has_the_variables_and_arguments_of_the_job,
        differences_are_printed_and_set_the_exit_code,
        an_attempt_with_grants_is_replayed_without_them_with_a_note,
        a_replay_has_clocks_as_fine_as_the_attempt_had,
        a_replay_has_the_limits_of_the_attempt_where_a_ceiling_was_lowered_since,
        a_replay_can_have_the_stack_size_of_the_host,
        another_attempt_is_replayed_by_its_number,
        the_fuel_of_an_attempt_that_timed_out_is_not_compared,
        a_job_whose_plugin_was_deleted_cannot_be_replayed,
        a_job_whose_version_has_other_bytes_now_cannot_be_replayed,
        unfinished_and_unknown_attempts_cannot_be_replayed,
    ]
}

impl Shell {
    /// Uploads `wasm` as `plugin`, runs a job of it with these options, and returns the job.
    async fn ran(&self, plugin: &str, wasm: &[u8], options: &str) -> anyhow::Result<Value> {
        std::fs::write(self.folder.path().join(format!("{plugin}.wasm")), wasm)?;
        self.text(&format!("plugin push {plugin}.wasm --version 1.0.0")).await?;
        let line = format!("job submit {plugin} --data hello {options}");
        let id = self.text(line.trim()).await?;
        self.host.finalized(id.trim()).await
    }

    async fn grant(&self, plugin: &str, grants: &str) -> anyhow::Result<()> {
        let path = format!("/v1/plugins/{plugin}");
        let change = format!(r#"{{ "grants": {grants} }}"#);
        self.host
            .request(reqwest::Method::PATCH, &path)
            .body(change)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    async fn replay(&self, job: &Value, options: &str) -> anyhow::Result<Output> {
        let id = job["id"].as_str().context("a job has an id")?;
        self.run(format!("replay {id} {options}").trim()).await
    }

    /// The output of a replay that must be the same, and its receipt.
    async fn same(&self, job: &Value) -> anyhow::Result<(Vec<u8>, Value)> {
        let Output { status, stdout, stderr } = self.replay(job, "--json").await?;
        let text = String::from_utf8_lossy(&stderr);
        let line = text.lines().last().context("there is a receipt")?;
        let receipt: Value = serde_json::from_str(line).with_context(|| text.to_string())?;
        ensure!(status.success() && receipt["replay"]["same"] == true, "{text}");
        Ok((stdout, receipt))
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn a_failed_job_is_replayed_with_the_same_trap_output_and_fuel() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let trap = guests::assemble(guests::TRAP)?;
    let job = shell.ran("trap", &trap, "--max-attempts 1 --deterministic").await?;
    let (recorded, id) = (&job["attempts"][0], job["id"].as_str().unwrap_or_default());
    let (output, receipt) = shell.same(&job).await?;
    ensure!(output.is_empty() && recorded["outcome"] == "trapped", "{job}");
    for field in ["outcome", "error"] {
        ensure!(receipt[field] == recorded[field], "{receipt} {recorded}");
    }
    ensure!(receipt["usage"]["fuel"] == recorded["usage"]["fuel"], "{receipt} {recorded}");
    let shown = said(&shell.replay(&job, "").await?);
    ensure!(shown.contains("unreachable: ") && shown.contains("trapped\n"), "{shown}");
    ensure!(shown.ends_with(&format!("the same as attempt 1 of job {id}\n")), "{shown}");
    Ok(())
}

async fn deterministic_jobs_of_every_kind_replay_the_same() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let random =
        r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))"#;
    let wall = r#"(import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall (param i32)))"#;
    let roll = "(i64.store (i32.const 1024) (call $random))";
    let print = format!("{roll} (call $print (i32.const 1024) (i32.const 16))");
    let answer = format!(
        "(call $answer (local.get $out) (i32.const 200) (call $typed)) {roll}
        (drop (call $body (i32.const 1024) (i32.const 16))) (call $finish)"
    );
    let leave = "(drop (call $random (i32.const 1024) (i32.const 8)))
        (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 1032)))
        (call $leave (call $block (i32.const 1024) (i32.const 16)))";
    let timed = format!("(call $wall (i32.const 1032)) {print}");
    for (kind, wasm, bytes) in [
        ("wasi-command-p1", guests::assemble(READINGS)?, 16),
        ("wasi-command-p2", components::command(&format!("{random} {wall}"), &timed)?, 16),
        ("wasi-http-p2", components::handler(random, &answer)?, 16),
        (
            "jobwright-job",
            components::job(
                "",
                &format!("{roll} (return (call $ok (i32.const 1024) (i32.const 16)))"),
            )?,
            16,
        ),
        ("extism", guests::assemble(&extism::plugin("", leave))?, 16),
    ] {
        let job = shell.ran(kind, &wasm, "--deterministic").await?;
        let abi = shell.json(&format!("plugin show {kind}")).await?["versions"][0]["abi"].clone();
        ensure!(job["state"] == "completed" && abi == kind, "{job} {abi}");
        let output =
            shell.run(&format!("job output {}", job["id"].as_str().unwrap_or("?"))).await?;
        let (replayed, receipt) = shell.same(&job).await?;
        ensure!(replayed == output.stdout && replayed.len() == bytes, "{kind}: {replayed:?}");
        let fuel = &job["attempts"][0]["usage"]["fuel"];
        ensure!(fuel.as_u64() > Some(0) && receipt["usage"]["fuel"] == *fuel, "{kind}: {receipt}");
    }
    Ok(())
}

/// Prints eight random bytes.
const ROLL: &str = r#"(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $random (i32.const 16) (i32.const 8)))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

async fn a_job_that_is_not_deterministic_replays_the_same_random_bytes() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let roll = guests::assemble(ROLL)?;
    let (one, two) = (shell.ran("roll", &roll, "").await?, shell.ran("roll", &roll, "").await?);
    let (first, second) = (shell.same(&one).await?.0, shell.same(&two).await?.0);
    ensure!(first.len() == 8 && first != second, "{first:?} {second:?}");
    Ok(())
}

async fn an_attempt_that_was_deterministic_no_longer_replays_the_same() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    for (granted, state) in [("true", "discarded"), ("false", "completed")] {
        // The first is uploaded, and granted that, before there are jobs.
        std::fs::write(shell.folder.path().join("reads.wasm"), guests::assemble(granting::READS)?)?;
        shell.text("plugin push reads.wasm --version 1.0.0").await?;
        shell.grant("reads", r#"{"deterministic":true}"#).await?;
        shell.text("queue pause default").await?;
        let id = shell.text("job submit reads --max-attempts 1").await?;
        shell.grant("reads", &format!(r#"{{"deterministic":{granted}}}"#)).await?;
        shell.text("queue resume default").await?;
        let job = shell.host.finalized(id.trim()).await?;
        ensure!(job["state"] == state, "{job}");
        shell.same(&job).await?;
    }
    Ok(())
}

async fn a_replay_needs_the_scope_to_read_and_the_scope_to_replay() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let job = shell.ran("roll", &guests::assemble(ROLL)?, "").await?;
    let id = job["id"].as_str().context("a job has an id")?;
    let admin = shell.text("key create --scope admin").await?;
    for (scopes, code) in [
        ("--scope jobs:read", 77),
        ("--scope jobs:replay", 77),
        ("--scope jobs:read --scope jobs:replay", 0),
    ] {
        let mut create = shell.command(&format!("key create {scopes}"))?;
        let made = create.env("JOBWRIGHT_API_KEY", admin.trim()).output().await?;
        let key = String::from_utf8(made.stdout)?;
        let mut replay = shell.command(&format!("replay {id}"))?;
        let replay = replay.env("JOBWRIGHT_API_KEY", key.trim()).output().await?;
        ensure!(replay.status.code() == Some(code), "{scopes}: {}", said(&replay));
    }
    Ok(())
}

/// Prints its variables and its arguments.
const TOLD: &str = r#"(module
  (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $env (i32.const 1024) (i32.const 8192)))
    (drop (call $args (i32.const 1024) (i32.const 16384)))
    (i32.store (i32.const 0) (i32.const 8192))
    (i32.store (i32.const 4) (i32.const 9000))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

async fn a_replay_has_the_variables_and_arguments_of_the_job() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let told = guests::assemble(TOLD)?;
    let options = "--arg=-x --env A=1 --tag t --queue bulk --max-attempts 7 --content-type text/csv \
                   --fuel 1_000_000";
    let job = shell.ran("told", &told, options).await?;
    let (output, _) = shell.same(&job).await?;
    let output = String::from_utf8_lossy(&output);
    for part in ["A=1", "JOBWRIGHT_QUEUE=bulk", "JOBWRIGHT_CONTENT_TYPE=text/csv", "told\0-x\0"] {
        ensure!(output.contains(part), "{output}");
    }
    Ok(())
}

/// Outputs its checkpoint, if it has one; else saves one, and requests a retry at once.
const RESUMES: &str = r#"(module
  (import "jobwright" "checkpoint_save" (func $save (param i32 i32) (result i32)))
  (import "jobwright" "checkpoint_load" (func $load (param i32 i32) (result i32)))
  (import "jobwright" "fail" (func $fail (param i32 i64 i32 i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "half")
  (func (export "_start")
    (if (i32.eq (call $load (i32.const 32) (i32.const 4)) (i32.const -1)) (then
      (drop (call $save (i32.const 16) (i32.const 4)))
      (call $fail (i32.const 1) (i64.const 0) (i32.const 16) (i32.const 4))
      (call $exit (i32.const 75))))
    (i32.store (i32.const 0) (i32.const 32))
    (i32.store (i32.const 4) (i32.const 4))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

async fn differences_are_printed_and_set_the_exit_code() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let job = shell.ran("resumes", &guests::assemble(RESUMES)?, "").await?;
    ensure!(job["attempt"] == 2 && job["state"] == "completed", "{job}");
    let replay = shell.replay(&job, "").await?;
    let shown = said(&replay);
    ensure!(replay.status.code() == Some(6), "{shown}");
    for part in [
        "different from attempt 2",
        "outcome       was succeeded\n                is  failed\n",
        "note: the recorded attempt resumed from a checkpoint",
    ] {
        ensure!(shown.contains(part), "{part}: {shown}");
    }
    let receipt: Value = serde_json::from_slice(&shell.replay(&job, "--json").await?.stderr)?;
    let found = &receipt["replay"];
    ensure!(found["same"] == false && found["attempt"] == 2, "{receipt}");
    ensure!(found["differences"][0]["what"] == "outcome", "{receipt}");
    Ok(())
}

/// Has the same grants for every plugin.
struct Always(Grants);

#[async_trait]
impl CapabilityProvider for Always {
    async fn open(&self, _: &Job, _: &Arc<LogBuffer>) -> Result<Capabilities, StoreError> {
        Ok(Capabilities { grants: Arc::new(self.0.clone()), ..Capabilities::default() })
    }
}

impl Shell {
    /// A shell with a host that grants this to every plugin.
    async fn granting(json: &str) -> anyhow::Result<Self> {
        Self::of(TestHost::granting(Arc::new(Always(serde_json::from_str(json)?))).await?)
    }
}

async fn an_attempt_with_grants_is_replayed_without_them_with_a_note() -> anyhow::Result<()> {
    let shell = Shell::granting(r#"{ "env": { "COLOUR": "blue" } }"#).await?;
    let job = shell.ran("told", &guests::assemble(TOLD)?, "").await?;
    let id = job["id"].as_str().unwrap_or_default();
    ensure!(shell.text(&format!("job output {id}")).await?.contains("COLOUR=blue"));
    let replay = shell.replay(&job, "").await?;
    let (shown, output) = (said(&replay), String::from_utf8_lossy(&replay.stdout).into_owned());
    ensure!(replay.status.code() == Some(6) && !output.contains("COLOUR"), "{shown} {output}");
    ensure!(shown.contains("note: the attempt had grants"), "{shown}");
    Ok(())
}

async fn a_replay_has_clocks_as_fine_as_the_attempt_had() -> anyhow::Result<()> {
    let shell = Shell::granting(r#"{ "clock_precision_us": 7 }"#).await?;
    let late = READINGS.replace(
        "(drop (call $random",
        "(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 16))) (drop (call $random",
    );
    let job = shell.ran("late", &guests::assemble(&late)?, "--deterministic").await?;
    let (output, receipt) = shell.same(&job).await?;
    let nanos = u64::from_le_bytes(output[..8].try_into()?);
    let created_at: Timestamp = job["created_at"].as_str().unwrap_or_default().parse()?;
    // The first reading is the start; the second one a step later, rounded down to a step.
    let expected = u64::try_from(created_at.as_nanosecond())? + 7_000;
    ensure!(nanos == expected - expected % 7_000, "{nanos} {created_at} {receipt}");
    ensure!(job["attempts"][0]["start"]["step_us"] == 7, "{job}");
    Ok(())
}

async fn a_replay_has_the_limits_of_the_attempt_where_a_ceiling_was_lowered_since()
-> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push spin.wasm").await?;
    let id = shell.text("job submit spin --delay 1h --max-attempts 1").await?;
    let lowered = TestHost::on(shell.host.stop().await?, |config| {
        let fuel = Some(Fuel::Units(1_000_000));
        (config.limits.fuel, config.ceilings.fuel) = (fuel, fuel);
    });
    let shell = Shell::of(lowered.await?)?;
    shell.text(&format!("job retry {}", id.trim())).await?;
    let job = shell.host.finalized(id.trim()).await?;
    let attempt = &job["attempts"][0];
    ensure!(attempt["limit"] == "fuel" && attempt["limits"]["fuel"] == 1_000_000, "{job}");
    ensure!(job["limits"]["fuel"] == 300_000_000_000_u64, "{job}");
    let (_, receipt) = shell.same(&job).await?;
    ensure!(receipt["limit"] == "fuel", "{receipt}");
    Ok(())
}

/// Calls itself so often that it needs more stack than guests have by default.
const DEEP: &str = r#"(module
  (memory (export "memory") 1)
  (func $down (param $n i32) (result i32)
    (if (result i32) (local.get $n)
      (then (i32.add (i32.const 1) (call $down (i32.sub (local.get $n) (i32.const 1)))))
      (else (i32.const 0))))
  (func (export "_start") (drop (call $down (i32.const 40000)))))"#;

async fn a_replay_can_have_the_stack_size_of_the_host() -> anyhow::Result<()> {
    let shell = Shell::configured(|config| {
        config.stack_bytes = 4 << 20;
        config.workers = NonZeroU32::MIN;
        config.reserved_workers = Some(0);
    })
    .await?;
    let job = shell.ran("deep", &guests::assemble(DEEP)?, "").await?;
    ensure!(job["state"] == "completed", "{job}");
    let usual = shell.replay(&job, "").await?;
    ensure!(usual.status.code() == Some(6) && said(&usual).contains("--stack-bytes"), "{usual:?}");
    let same = shell.replay(&job, "--stack-bytes 4MiB").await?;
    ensure!(same.status.success() && !said(&same).contains("--stack-bytes"), "{}", said(&same));
    for (stack, code) in [("", 3), (" --stack-bytes 4MiB", 0), (" --stack-bytes 1KiB", 64)] {
        let run = shell.run(&format!("run deep.wasm --data x{stack}")).await?;
        ensure!(run.status.code() == Some(code), "{stack}: {}", said(&run));
    }
    Ok(())
}

async fn another_attempt_is_replayed_by_its_number() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let job = shell.ran("resumes", &guests::assemble(RESUMES)?, "").await?;
    let replay = shell.replay(&job, "--attempt 1").await?;
    let shown = said(&replay);
    ensure!(replay.status.success() && shown.contains("the same as attempt 1 of job"), "{shown}");
    Ok(())
}

async fn the_fuel_of_an_attempt_that_timed_out_is_not_compared() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let spin = guests::assemble(guests::SPIN)?;
    let job = shell.ran("spin", &spin, "--timeout 1s --max-attempts 1").await?;
    let (_, receipt) = shell.same(&job).await?;
    ensure!(receipt["limit"] == "time", "{receipt}");
    ensure!(receipt["replay"]["notes"][0].to_string().contains("time limit"), "{receipt}");
    Ok(())
}

async fn a_job_whose_plugin_was_deleted_cannot_be_replayed() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let job = shell.ran("echo", &guests::echo()?, "").await?;
    shell.text("plugin rm echo").await?;
    let replay = shell.replay(&job, "").await?;
    let shown = said(&replay);
    ensure!(replay.status.code() == Some(66), "{shown}");
    ensure!(shown.contains("ran echo@1.0.0 (sha256:"), "{shown}");
    ensure!(shown.contains("which was deleted from the host"), "{shown}");
    Ok(())
}

async fn a_job_whose_version_has_other_bytes_now_cannot_be_replayed() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let job = shell.ran("echo", &guests::echo()?, "").await?;
    shell.text("plugin rm echo").await?;
    shell.ran("echo", &guests::log()?, "").await?;
    let replay = shell.replay(&job, "").await?;
    let shown = said(&replay);
    ensure!(replay.status.code() == Some(66) && shown.contains("were replaced since"), "{shown}");
    Ok(())
}

async fn unfinished_and_unknown_attempts_cannot_be_replayed() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push sleep.wasm").await?;
    let running = shell.text("job submit sleep").await?;
    let waiting = shell.text("job submit sleep --delay 1h").await?;
    let done = shell.ran("echo", &guests::echo()?, "").await?;
    let unknown = "00dc6acf-ac00-7000-8000-000000000000";
    while shell.host.job(running.trim()).await?["state"] != "running" {
        tokio::task::yield_now().await;
    }
    for (line, code, part) in [
        (running.trim(), 65, "is running: its attempt 1 has not ended yet"),
        (waiting.trim(), 65, "is scheduled: it has had no attempt yet"),
        (&format!("{} --attempt 2", done["id"].as_str().unwrap_or("?")), 65, "has no attempt 2"),
        (unknown, 66, "it may have been pruned"),
    ] {
        let replay = shell.run(&format!("replay {line}")).await?;
        let shown = said(&replay);
        ensure!(replay.status.code() == Some(code) && shown.contains(part), "{line}: {shown}");
    }
    shell.text(&format!("job cancel {}", running.trim())).await?;
    Ok(())
}
