//! How outputs and logs are shown, with any content.

use std::process::Stdio;

use anyhow::ensure;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::json;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = tests![
        json_that_some_parsers_refuse_is_shown_by_its_length,
        json_is_shown_as_it_was_written,
        a_log_with_invalid_utf_8_and_control_characters_is_read,
    ];
    // `script` gives a command a terminal.
    let missing = !std::path::Path::new("/usr/bin/script").exists();
    let terminal = tests![a_log_is_written_to_a_terminal_without_control_characters];
    trials.extend(terminal.into_iter().map(|trial| trial.with_ignored_flag(missing)));
    trials
}

async fn json_that_some_parsers_refuse_is_shown_by_its_length() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let json = shell.host.request(Method::PATCH, "/v1/plugins/echo");
    json.json(&json!({ "output_type": "application/json" })).send().await?.error_for_status()?;
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for payload in
        [nested(101), nested(127), nested(10_000), r#""\ud800""#.into(), "1e999".into(), "{".into()]
    {
        let id = shell.finalized("echo", payload.as_bytes()).await?;
        for line in [format!("job show {id}"), format!("job wait {id}")] {
            let shown = shell.text(&line).await?;
            ensure!(shown.contains(&format!("{} bytes", payload.len())), "{line}: {shown}");
            let job = shell.json(&line).await?;
            ensure!(job.get("output").is_none() && job["state"] == "completed", "{job}");
        }
        ensure!(shell.text(&format!("job output {id}")).await? == payload);
    }
    let id = shell.finalized("echo", nested(100).as_bytes()).await?;
    ensure!(shell.json(&format!("job show {id}")).await?["output"].to_string() == nested(100));
    Ok(())
}

async fn json_is_shown_as_it_was_written() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let json = shell.host.request(Method::PATCH, "/v1/plugins/echo");
    json.json(&json!({ "output_type": "application/json" })).send().await?.error_for_status()?;
    for output in [r#"{"z":12345678901234567890123, "a":1.0}"#, "null"] {
        let id = shell.finalized("echo", output.as_bytes()).await?;
        for line in [format!("job show {id}"), format!("job wait {id}")] {
            let shown = shell.text(&line).await?;
            ensure!(shown.contains(&format!("output        {output}\n")), "{line}: {shown}");
        }
    }
    Ok(())
}

/// Invalid UTF-8, with an escape sequence that clears a terminal.
const NOISE: &[u8] = b"one\xff\x1b[2Jtwo\xc3";

async fn a_log_with_invalid_utf_8_and_control_characters_is_read() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push log.wasm").await?;
    let id = shell.finalized("log", NOISE).await?;
    let output = shell.run(&format!("job logs {id}")).await?;
    ensure!(output.status.success() && output.stdout == NOISE, "{output:?}");
    Ok(())
}

async fn a_log_is_written_to_a_terminal_without_control_characters() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push log.wasm").await?;
    let id = shell.finalized("log", NOISE).await?;
    let mut script = tokio::process::Command::new("/usr/bin/script");
    let program = std::env::current_exe()?;
    script.args(["-qec", &format!("'{}' job logs {id}", program.display()), "/dev/null"]);
    script.env(jobwright_tests::AS_PROGRAM, "1").env("JOBWRIGHT_LOG", "error");
    script.env("JOBWRIGHT_HOST", format!("http://{}", shell.host.address()));
    let output = script.stdin(Stdio::null()).output().await?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{output:?}");
    ensure!(
        shown.contains("one\u{fffd}\u{fffd}[2Jtwo\u{fffd}") && !shown.contains('\x1b'),
        "{shown:?}"
    );
    Ok(())
}
