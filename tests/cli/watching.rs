//! `jobwright dev`: what runs again when a file changes.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, ensure};
use jobwright_tests::{guests, jobwright, tests};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_plugin_or_payload_that_changes_is_run_again,
        a_missing_or_broken_file_is_reported_once_and_awaited,
        a_changed_file_ends_a_running_attempt,
        an_interrupt_ends_it_quietly,
    ]
}

/// A `jobwright dev` on `plugin.wasm` and `payload.txt`, and a folder for them.
struct Dev {
    folder: TempDir,
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    notes: Lines<BufReader<ChildStderr>>,
}

impl Dev {
    /// Without `wasm` there is no plugin yet.
    fn start(wasm: Option<&[u8]>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("payload.txt"), "one\n")?;
        if let Some(wasm) = wasm {
            replace(folder.path(), "plugin.wasm", wasm)?;
        }
        let mut dev = jobwright(["dev", "plugin.wasm", "--payload", "payload.txt"])?;
        dev.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = dev.spawn()?;
        let output = lines(child.stdout.take())?;
        let notes = lines(child.stderr.take())?;
        Ok(Self { folder, child, output, notes })
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        replace(self.folder.path(), name, bytes)
    }

    /// The next line of output.
    async fn output(&mut self) -> anyhow::Result<String> {
        self.output.next_line().await?.context("it has ended")
    }

    /// The lines up to one with `part`, which is read too.
    async fn until(&mut self, part: &str) -> anyhow::Result<Vec<String>> {
        let mut before = Vec::new();
        loop {
            let line = self.notes.next_line().await?;
            let line = line.with_context(|| format!("no `{part}` in {before:?}"))?;
            if line.contains(part) {
                return Ok(before);
            }
            before.push(line);
        }
    }

    /// Ends it by Ctrl-C, and returns the lines that follow.
    async fn interrupt(mut self) -> anyhow::Result<(ExitStatus, Vec<String>)> {
        let id = self.child.id().context("it runs")?.to_string();
        std::process::Command::new("kill").args(["-INT", &id]).status()?;
        let mut said = Vec::new();
        while let Some(line) = self.notes.next_line().await? {
            said.push(line);
        }
        Ok((self.child.wait().await?, said))
    }
}

fn lines<R: AsyncRead + Unpin>(pipe: Option<R>) -> anyhow::Result<Lines<BufReader<R>>> {
    Ok(BufReader::new(pipe.context("it is piped")?).lines())
}

/// Replaces a file as compilers do: by renaming, so that it is never incomplete.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let new = folder.join("new");
    std::fs::write(&new, bytes)?;
    Ok(std::fs::rename(new, folder.join(name))?)
}

/// Writes `text` and a line break, whatever its payload.
fn says(text: &str) -> anyhow::Result<Vec<u8>> {
    let length = text.len() + 1;
    guests::assemble(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 64) "{text}\n")
          (func (export "_start")
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const {length}))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#
    ))
}

async fn a_plugin_or_payload_that_changes_is_run_again() -> anyhow::Result<()> {
    let mut dev = Dev::start(Some(&guests::echo()?))?;
    assert_eq!(dev.output().await?, "one");
    dev.until("peak memory").await?;
    dev.replace("payload.txt", b"another\n")?;
    assert_eq!(dev.output().await?, "another");
    dev.replace("plugin.wasm", &says("hello")?)?;
    assert_eq!(dev.output().await?, "hello");
    dev.replace("plugin.wasm", &guests::assemble(guests::TRAP)?)?;
    dev.until("unreachable").await?;
    dev.until("trapped").await?;
    dev.replace("plugin.wasm", &says("again")?)?;
    assert_eq!(dev.output().await?, "again");
    Ok(())
}

async fn a_missing_or_broken_file_is_reported_once_and_awaited() -> anyhow::Result<()> {
    let mut dev = Dev::start(None)?;
    let before = dev.until("waiting for plugin.wasm").await?;
    ensure!(before.is_empty(), "{before:?}");
    dev.replace("plugin.wasm", b"(module)")?;
    let between = dev.until("error: this is WebAssembly text").await?;
    ensure!(between.iter().all(|line| !line.contains("error")), "{between:?}");
    dev.replace("plugin.wasm", &says("hello")?)?;
    let between = dev.until("succeeded").await?;
    ensure!(between.iter().all(|line| !line.contains("error")), "{between:?}");
    assert_eq!(dev.output().await?, "hello");
    std::fs::remove_file(dev.folder.path().join("payload.txt"))?;
    dev.until("error: cannot read the payload payload.txt").await?;
    Ok(())
}

async fn a_changed_file_ends_a_running_attempt() -> anyhow::Result<()> {
    let mut dev = Dev::start(Some(&guests::assemble(guests::SLEEP)?))?;
    dev.until("running plugin.wasm").await?;
    dev.replace("plugin.wasm", &says("awake")?)?;
    assert_eq!(dev.output().await?, "awake");
    let before = dev.until("succeeded").await?;
    ensure!(before.iter().any(|line| line == "cancelled"), "{before:?}");
    Ok(())
}

async fn an_interrupt_ends_it_quietly() -> anyhow::Result<()> {
    for wasm in [says("hello")?, guests::assemble(guests::SLEEP)?] {
        let mut dev = Dev::start(Some(&wasm))?;
        dev.until("running plugin.wasm").await?;
        let (status, said) = dev.interrupt().await?;
        ensure!(status.success(), "{status}");
        ensure!(!said.iter().any(|line| line.contains("error") || line == "cancelled"), "{said:?}");
    }
    Ok(())
}
