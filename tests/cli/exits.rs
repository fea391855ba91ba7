//! Exit codes, and errors as JSON.

use std::process::{Output, Stdio};

use anyhow::{Context as _, ensure};
use jobwright_tests::{jobwright, tests, write_private};
use libtest_mimic::Trial;
use serde_json::Value;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        exit_codes_tell_how_a_job_ended,
        exit_codes_tell_why_a_command_failed,
        a_host_without_room_is_a_temporary_failure,
        a_wrong_key_is_refused,
        the_help_lists_the_exit_codes,
        errors_are_json_with_the_flag_json,
        a_closed_stdout_ends_a_command_without_an_error,
    ]
}

impl Shell {
    async fn code(&self, line: &str) -> anyhow::Result<Option<i32>> {
        Ok(self.run(line).await?.status.code())
    }
}

async fn exit_codes_tell_how_a_job_ended() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    for plugin in ["echo", "fail", "sleep"] {
        shell.text(&format!("plugin push {plugin}.wasm")).await?;
    }
    assert_eq!(shell.code("job submit echo --wait").await?, Some(0));
    assert_eq!(shell.code("job submit fail --wait").await?, Some(3));
    let id = shell.text("job submit sleep").await?;
    assert_eq!(shell.code(&format!("job wait {} --max-wait 1s", id.trim())).await?, Some(5));
    shell.text(&format!("job cancel {}", id.trim())).await?;
    assert_eq!(shell.code(&format!("job wait {}", id.trim())).await?, Some(4));
    Ok(())
}

async fn exit_codes_tell_why_a_command_failed() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    std::fs::write(shell.folder.path().join("text.wasm"), "no plugin")?;
    for (line, code) in [
        ("job submit", 64),
        ("job show 7", 64),
        ("no-such-command", 64),
        ("plugin list --host nonsense", 64),
        ("plugin rm echo@1", 64),
        ("plugin set echo", 64),
        ("job cancel", 64),
        ("job cancel --state available", 0),
        ("job submit echo --file jobs.ndjson", 64),
        ("job submit --file missing.ndjson", 66),
        ("job list --api-key 0123456789abcdef\n", 64),
        ("job submit echo --idempotency-key a\r", 64),
        ("job submit echo --content-type text/plain\n", 64),
        ("job submit echo --priority 9", 65),
        ("job submit echo --memory 2GiB", 65),
        ("job submit echo --env A=1 --env A=2", 65),
        ("plugin push text.wasm", 65),
        ("run text.wasm", 65),
        ("run echo.wasm --memory 2GiB", 65),
        ("run echo.wasm --env 1A=", 65),
        ("run echo.wasm --env =", 65),
        ("run echo.wasm --env A=1 --env A=2", 65),
        ("run echo.wasm --env JOBWRIGHT_JOB_ID=mine", 65),
        ("plugin push missing.wasm", 66),
        ("run missing.wasm", 66),
        ("job submit echo --payload missing.txt", 66),
        ("plugin list --host http://127.0.0.1:1", 69),
        ("job submit nothing-there", 1),
        ("--help", 0),
    ] {
        assert_eq!(shell.code(line).await?, Some(code), "{line}");
    }
    Ok(())
}

async fn a_host_without_room_is_a_temporary_failure() -> anyhow::Result<()> {
    let shell = Shell::configured(|config| config.queue.parked_capacity = 1).await?;
    shell.text("plugin push echo.wasm").await?;
    shell.text("job submit echo --delay 1h").await?;
    let refused = shell.run("job submit echo --delay 1h --json").await?;
    assert_eq!(refused.status.code(), Some(75));
    let problem = error(&refused)?;
    assert_eq!((&problem["code"], &problem["depth"]), (&"parked_full".into(), &1.into()));
    Ok(())
}

async fn a_wrong_key_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let keys = folder.path().join("keys");
    write_private(&keys, "0123456789abcdef\n")?;
    let shell = Shell::configured(|config| config.api_keys = Some(keys)).await?;
    assert_eq!(shell.code("plugin list").await?, Some(77));
    assert_eq!(shell.code("plugin list --api-key 0123456789abcdef").await?, Some(0));
    Ok(())
}

async fn the_help_lists_the_exit_codes() -> anyhow::Result<()> {
    let help = String::from_utf8(jobwright(["--help"])?.output().await?.stdout)?;
    let listed: Vec<&str> = help
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.parse::<u8>().is_ok())
        .collect();
    assert_eq!(
        listed,
        ["0", "1", "3", "4", "5", "6", "64", "65", "66", "69", "75", "77", "130", "141"]
    );
    ensure!(help.contains("--json") && help.contains("stderr"), "{help}");
    Ok(())
}

/// The JSON on stderr of a failed command, which must be its only output.
fn error(output: &Output) -> anyhow::Result<Value> {
    ensure!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stderr).with_context(|| format!("{output:?}"))
}

async fn errors_are_json_with_the_flag_json() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let problem = error(&shell.run("job submit none --json").await?)?;
    assert_eq!((&problem["status"], &problem["code"]), (&404.into(), &"plugin_not_found".into()));
    ensure!(problem["request_id"].is_string(), "as it came from the host: {problem}");
    for (line, part) in [
        ("plugin push missing.wasm --json", "cannot read the plugin missing.wasm"),
        ("--json plugin list --host http://127.0.0.1:1", "cannot reach a host"),
        ("run missing.wasm --json", "cannot read the plugin missing.wasm"),
        ("job show 7 --json", "is not a job id"),
        ("--json no-such-command", "unrecognized subcommand"),
    ] {
        let error = error(&shell.run(line).await?)?;
        let message = error["error"].as_str().context("it has a message")?;
        ensure!(message.contains(part) && !message.starts_with("error"), "{line}: {message}");
    }
    Ok(())
}

async fn a_closed_stdout_ends_a_command_without_an_error() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let id = shell.text("job submit echo --data hello").await?;
    shell.text(&format!("job wait {}", id.trim())).await?;
    for line in [
        "job list",
        "job list --json",
        &format!("job show {}", id.trim()),
        &format!("job output {}", id.trim()),
        "plugin list",
        "run echo.wasm --data hello --json",
        "completions bash",
    ] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let command = shell.command(line)?.stdout(writer).stderr(Stdio::piped()).spawn()?;
        let output = command.wait_with_output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(141), "{line}: {errors}");
        ensure!(!errors.contains("error:") && !errors.contains("panic"), "{line}: {errors}");
    }
    Ok(())
}
