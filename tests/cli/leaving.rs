//! How failed attempts, their outputs and the number of attempts left are shown.

use anyhow::ensure;
use jobwright_tests::{guests, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        the_output_of_a_failed_attempt_is_marked,
        exit_codes_are_set_by_a_flag,
        attempts_are_shown_with_the_failures_that_count,
    ]
}

/// Prints `bad row`, and exits with this code.
fn prints_and_exits(code: u8) -> anyhow::Result<Vec<u8>> {
    guests::assemble(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (data (i32.const 64) "bad row\n")
          (data (i32.const 0) "\40\00\00\00\08\00\00\00")
          (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (call $exit (i32.const {code}))))"#
    ))
}

async fn the_output_of_a_failed_attempt_is_marked() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    std::fs::write(shell.folder.path().join("bad.wasm"), prints_and_exits(65)?)?;
    let ran = shell.run("run bad.wasm --data x").await?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!((ran.status.code(), &ran.stdout[..]) == (Some(3), b"bad row\n"), "{ran:?}");
    ensure!(said.contains("exited with 65 (data error): bad row"), "{said}");
    ensure!(said.contains("did not succeed"), "{said}");

    shell.text("plugin push bad.wasm").await?;
    let id = shell.text("job submit bad --data x").await?;
    let id = id.trim();
    shell.run(&format!("job wait {id}")).await?;
    let shown = shell.text(&format!("job show {id}")).await?;
    ensure!(shown.contains("failed output 8 bytes, text/plain"), "{shown}");
    let output = shell.run(&format!("job output {id}")).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && output.stdout == b"bad row\n", "{output:?}");
    ensure!(said.contains("output of attempt 1, which ended as failed"), "{said}");
    Ok(())
}

async fn exit_codes_are_set_by_a_flag() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    std::fs::write(shell.folder.path().join("ten.wasm"), prints_and_exits(10)?)?;
    for (flags, code, word) in [
        ("", 3, "can be retried"),
        (" --exit-codes succeed=0,10-19", 0, "succeeded"),
        (" --exit-codes fail=10", 3, "for good"),
        (" --exit-codes snooze=10", 3, "snoozed"),
        (" --exit-codes succeed=10 --exit-codes fail=10", 64, "is in both"),
        (" --exit-codes succeed=300", 64, "`300` is not an exit code"),
    ] {
        let ran = shell.run(&format!("run ten.wasm --data x{flags}")).await?;
        let said = String::from_utf8_lossy(&ran.stderr);
        ensure!(ran.status.code() == Some(code) && said.contains(word), "{flags}: {ran:?}");
    }
    Ok(())
}

async fn attempts_are_shown_with_the_failures_that_count() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push fail.wasm").await?;
    let job = json!({ "plugin": "fail", "max_attempts": 1 });
    let id = shell.host.run(job).await?["id"].as_str().unwrap_or_default().to_owned();
    shell.text(&format!("job retry {id}")).await?;
    shell.run(&format!("job wait {id}")).await?;
    let job = shell.json(&format!("job show {id}")).await?;
    let numbers = ["attempt", "failures", "max_attempts", "attempts_left"].map(|name| &job[name]);
    ensure!(numbers == [2, 1, 1, 0], "{job}");
    let shown = shell.text(&format!("job show {id}")).await?;
    ensure!(shown.contains("failures      1 of at most 1\n"), "none are left to it: {shown}");
    let waiting = shell.text("job submit fail --delay 1h --max-attempts 2").await?;
    let shown = shell.text(&format!("job show {}", waiting.trim())).await?;
    ensure!(shown.contains("failures      0 of at most 2, attempts left: 2\n"), "{shown}");
    Ok(())
}
