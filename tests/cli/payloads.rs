//! Sources of payloads, and the error for one that is too large.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        piped_input_is_the_payload,
        a_file_as_input_is_the_payload,
        a_note_says_that_the_command_waits_for_a_silent_pipe,
        stdin_is_not_read_if_a_payload_is_given,
        a_file_that_is_too_large_is_refused_with_the_reason,
    ]
}

impl Shell {
    /// The output of a command with `input` on stdin.
    async fn piped(&self, line: &str, input: &str) -> anyhow::Result<String> {
        let mut command = self.command(line)?;
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        child.stdin.take().context("it is piped")?.write_all(input.as_bytes()).await?;
        let output = child.wait_with_output().await?;
        ensure!(output.status.success(), "{line}: {:?}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn output(&self, id: &str) -> anyhow::Result<String> {
        self.text(&format!("job wait {}", id.trim())).await?;
        self.text(&format!("job output {}", id.trim())).await
    }
}

async fn piped_input_is_the_payload() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.text("plugin push echo.wasm").await?;
    let long = "a line of some length\n".repeat(20_000);
    for payload in ["piped", &long, ""] {
        for line in ["run echo.wasm", "run echo.wasm --payload -"] {
            ensure!(shell.piped(line, payload).await? == payload, "{line}");
        }
        for line in ["job submit echo", "job submit echo --payload -"] {
            let id = shell.piped(line, payload).await?;
            ensure!(shell.output(&id).await? == payload, "{line}");
        }
    }
    Ok(())
}

async fn a_file_as_input_is_the_payload() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let file = shell.folder.path().join("input.txt");
    std::fs::write(&file, "from a file")?;
    let output = shell.command("run echo.wasm")?.stdin(std::fs::File::open(file)?).output().await?;
    assert_eq!(output.stdout, b"from a file");
    assert_eq!(shell.run("run echo.wasm").await?.stdout, b"", "/dev/null has nothing");
    Ok(())
}

async fn a_note_says_that_the_command_waits_for_a_silent_pipe() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let mut command = shell.command("run echo.wasm")?;
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn()?;
    let mut input = child.stdin.take().context("it is piped")?;
    let mut notes = BufReader::new(child.stderr.take().context("it is piped")?);
    let mut note = String::new();
    notes.read_line(&mut note).await?;
    ensure!(note.contains("standard input") && note.contains("--data ''"), "{note}");
    input.write_all(b"at last").await?;
    drop(input);
    assert_eq!(child.wait_with_output().await?.stdout, b"at last");
    Ok(())
}

async fn stdin_is_not_read_if_a_payload_is_given() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    std::fs::write(shell.folder.path().join("payload"), "given")?;
    for (line, expected) in [
        ("run echo.wasm --data given", "given"),
        ("run echo.wasm --payload payload", "given"),
        ("run echo.wasm --data=", ""),
    ] {
        let mut child = shell
            .command(line)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        // Open until the command has ended, as a pipe that a script inherited.
        let open = child.stdin.take();
        assert_eq!(child.wait_with_output().await?.stdout, expected.as_bytes(), "{line}");
        drop(open);
    }
    Ok(())
}

async fn a_file_that_is_too_large_is_refused_with_the_reason() -> anyhow::Result<()> {
    let shell = Shell::configured(|config| config.plugin_bytes = 1000).await?;
    std::fs::write(shell.folder.path().join("large.wasm"), vec![0; 64 << 20])?;
    for line in ["plugin push large.wasm", "job submit echo --payload large.wasm"] {
        for _ in 0..5 {
            let output = shell.run(line).await?;
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(message.contains("(too_large)"), "{line}: {message}");
            assert_eq!(output.status.code(), Some(65), "{line}");
        }
    }
    Ok(())
}
