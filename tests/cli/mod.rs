//! The command line, as people and scripts use it.

mod administering;
mod distrusting;
mod exits;
mod granting;
mod inspecting;
mod leaving;
mod listing;
mod many;
mod payloads;
mod projects;
mod queues;
mod reaching;
mod replaying;
mod securing;
mod serving;
mod showing;
mod stopping;
mod waiting;
mod watching;

use std::process::Output;

use anyhow::{Context as _, ensure};
use jobwright::Config;
use jobwright_tests::{TestHost, guests, jobwright, tests};
use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

pub fn trials() -> Vec<Trial> {
    let mut trials = tests![
        a_plugin_is_pushed_listed_shown_and_removed,
        a_job_is_submitted_waited_for_and_its_output_and_log_are_read,
        a_job_is_cancelled_and_retried,
        run_prints_the_output_on_stdout_and_the_receipt_on_stderr,
        a_deterministic_run_is_the_same_each_time,
        a_receipt_starts_on_a_new_line,
        run_reports_whether_a_retry_is_requested,
        the_exit_code_of_run_reports_a_limit,
        errors_are_one_line_with_what_to_do,
        completions_are_printed_for_a_shell,
    ];
    trials.extend(administering::trials());
    trials.extend(distrusting::trials());
    trials.extend(exits::trials());
    trials.extend(granting::trials());
    trials.extend(inspecting::trials());
    trials.extend(leaving::trials());
    trials.extend(listing::trials());
    trials.extend(many::trials());
    trials.extend(payloads::trials());
    trials.extend(projects::trials());
    trials.extend(queues::trials());
    trials.extend(reaching::trials());
    trials.extend(replaying::trials());
    trials.extend(securing::trials());
    trials.extend(serving::trials());
    trials.extend(showing::trials());
    trials.extend(stopping::trials());
    trials.extend(waiting::trials());
    trials.extend(watching::trials());
    trials
}

struct Shell {
    host: TestHost,
    folder: TempDir,
}

impl Shell {
    async fn new() -> anyhow::Result<Self> {
        Self::configured(|_| {}).await
    }

    async fn configured(change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        Self::of(TestHost::configured(change).await?)
    }

    fn of(host: TestHost) -> anyhow::Result<Self> {
        let shell = Self { host, folder: tempfile::tempdir()? };
        for (name, wasm) in [
            ("echo.wasm", guests::echo()?),
            ("log.wasm", guests::log()?),
            ("spin.wasm", guests::assemble(guests::SPIN)?),
            ("sleep.wasm", guests::assemble(guests::SLEEP)?),
            ("fail.wasm", guests::assemble(&guests::exit(65))?),
        ] {
            std::fs::write(shell.folder.path().join(name), wasm)?;
        }
        Ok(shell)
    }

    /// The command `jobwright` with the words of `line`.
    fn command(&self, line: &str) -> anyhow::Result<Command> {
        let mut command = jobwright(line.split(' '))?;
        command.env("JOBWRIGHT_HOST", format!("http://{}", self.host.address()));
        command.current_dir(self.folder.path());
        Ok(command)
    }

    async fn run(&self, line: &str) -> anyhow::Result<Output> {
        Ok(self.command(line)?.output().await?)
    }

    /// Submits the payload in a file, waits for the job, and returns its id.
    async fn finalized(&self, plugin: &str, payload: &[u8]) -> anyhow::Result<String> {
        std::fs::write(self.folder.path().join("payload"), payload)?;
        let id = self.text(&format!("job submit {plugin} --payload payload")).await?;
        self.text(&format!("job wait {}", id.trim())).await?;
        Ok(id.trim().to_owned())
    }

    /// The output of a command that must succeed.
    async fn text(&self, line: &str) -> anyhow::Result<String> {
        let output = self.run(line).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{line}: {:?} {errors}", output.status.code());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The output of a command with `--json`.
    async fn json(&self, line: &str) -> anyhow::Result<Value> {
        let text = self.text(&format!("{line} --json")).await?;
        serde_json::from_str(&text).context(text)
    }
}

async fn a_plugin_is_pushed_listed_shown_and_removed() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let pushed = shell.text("plugin push echo.wasm --version 1.2.3").await?;
    ensure!(pushed.starts_with("echo@1.2.3  wasi-command-p1  sha256:"), "{pushed}");
    ensure!(shell.text("plugin list").await?.contains("echo"));
    ensure!(shell.json("plugin show echo").await?["default_version"] == "1.2.3");
    ensure!(shell.text("plugin rm echo@1.2.3").await? == "removed echo@1.2.3\n");
    ensure!(shell.json("plugin list").await? == serde_json::json!([]));
    Ok(())
}

async fn a_job_is_submitted_waited_for_and_its_output_and_log_are_read() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let id = shell.text("job submit echo --data hello --tag mine --priority 1").await?;
    let id = id.trim();
    let job = shell.json(&format!("job wait {id}")).await?;
    ensure!(job["state"] == "completed" && job["priority"] == 1, "{job}");
    ensure!(shell.text(&format!("job output {id}")).await? == "hello");
    ensure!(shell.text(&format!("job logs {id}")).await?.is_empty());
    let listed = shell.json("job list --state completed --tag mine").await?;
    ensure!(listed[0]["id"] == id, "{listed}");
    let shown = shell.text(&format!("job show {id}")).await?;
    ensure!(shown.contains("completed") && shown.contains("succeeded"), "{shown}");
    Ok(())
}

async fn a_job_is_cancelled_and_retried() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let id = shell.text("job submit echo --delay 1h --data again").await?;
    let id = id.trim();
    ensure!(shell.json(&format!("job cancel {id}")).await?["state"] == "cancelled");
    shell.text(&format!("job retry {id}")).await?;
    ensure!(shell.json(&format!("job wait {id}")).await?["state"] == "completed");
    Ok(())
}

async fn run_prints_the_output_on_stdout_and_the_receipt_on_stderr() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    std::fs::write(shell.folder.path().join("payload.json"), "{\"a\": 1}")?;
    let output = shell.run("run echo.wasm --payload payload.json").await?;
    let receipt = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && output.stdout == b"{\"a\": 1}", "{receipt}");
    ensure!(receipt.contains("succeeded") && receipt.contains("peak memory"), "{receipt}");
    let output = shell.run("run echo.wasm --data x --json").await?;
    let receipt: Value = serde_json::from_slice(&output.stderr)?;
    ensure!(receipt["usage"]["payload_bytes"] == 1, "{receipt}");
    Ok(())
}

/// Writes the time, and eight random bytes.
const READINGS: &str = r#"(module
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 16)))
    (drop (call $random (i32.const 24) (i32.const 8)))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 16))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

async fn a_deterministic_run_is_the_same_each_time() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    std::fs::write(shell.folder.path().join("readings.wasm"), guests::assemble(READINGS)?)?;
    let read = async |line: &str| anyhow::Ok(shell.run(line).await?.stdout);
    let fixed = "run readings.wasm --deterministic --data x";
    let (one, two) = (read(fixed).await?, read(fixed).await?);
    ensure!(one.len() == 16 && one == two, "{one:?} {two:?}");
    let (one, two) =
        (read("run readings.wasm --data x").await?, read("run readings.wasm --data x").await?);
    ensure!(one.len() == 16 && one != two, "{one:?} {two:?}");
    Ok(())
}

async fn a_receipt_starts_on_a_new_line() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    for (text, log) in [("open", "open\n"), ("ended\\n", "ended\n"), ("", "")] {
        let length = text.replace("\\n", "n").len();
        let wasm = guests::assemble(&format!(
            r#"(module
              (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
              (memory (export "memory") 1)
              (data (i32.const 64) "{text}")
              (func (export "_start")
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const {length}))
                (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
        ))?;
        std::fs::write(shell.folder.path().join("says.wasm"), wasm)?;
        let said = String::from_utf8(shell.run("run says.wasm --json").await?.stderr)?;
        let receipt = said.strip_prefix(log).with_context(|| said.clone())?;
        let receipt: Value = serde_json::from_str(receipt).with_context(|| said.clone())?;
        ensure!(receipt["outcome"] == "succeeded", "{said}");
    }
    Ok(())
}

async fn run_reports_whether_a_retry_is_requested() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let again = guests::assemble(&guests::exit(75))?;
    std::fs::write(shell.folder.path().join("again.wasm"), again)?;
    for (plugin, said, retry) in
        [("fail", "failed for good\n", false), ("again", "failed, and can be retried\n", true)]
    {
        let output = shell.run(&format!("run {plugin}.wasm --data x")).await?;
        let notes = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(3) && notes.contains(said), "{notes}");
        let output = shell.run(&format!("run {plugin}.wasm --data x --json")).await?;
        let receipt: Value = serde_json::from_slice(&output.stderr)?;
        ensure!(receipt["retry"] == retry, "{receipt}");
    }
    Ok(())
}

async fn the_exit_code_of_run_reports_a_limit() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let output = shell.run("run spin.wasm --fuel 1_000_000").await?;
    let receipt = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(3), "{receipt}");
    ensure!(receipt.contains("limit exceeded") && receipt.contains("fuel"), "{receipt}");
    Ok(())
}

async fn errors_are_one_line_with_what_to_do() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let says = async |line: &str, part: &str| -> anyhow::Result<()> {
        let output = shell.run(line).await?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && message.contains(part), "{line}: {message}");
        Ok(())
    };
    says("job show 7", "is not a job id").await?;
    says("job submit nothing-there", "plugin `nothing-there` is not installed").await?;
    says("plugin push missing.wasm", "cannot read the plugin missing.wasm").await?;
    says("plugin list --host nonsense", "is not a host's address").await?;
    says("plugin list --host http://127.0.0.1:1", "start a host with `jobwright serve`").await?;
    says("run echo.wasm --memory 2GiB", "exceeds the operator's maximum 1 GiB").await?;
    says("serve --listen 0.0.0.0:0", "--insecure-no-auth").await?;
    Ok(())
}

async fn completions_are_printed_for_a_shell() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    ensure!(shell.text("completions bash").await?.contains("jobwright"));
    Ok(())
}
