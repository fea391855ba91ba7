//! `jobwright plugin inspect`: describes a plugin before it is uploaded.

use anyhow::ensure;
use jobwright_tests::{guests, jobwright, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_plugin_is_described_without_a_host,
        a_plugin_is_described_as_the_host_describes_it,
        the_entry_points_of_an_extism_plug_in_are_shown,
        inspect_reports_the_errors_of_an_upload,
    ]
}

async fn a_plugin_is_described_without_a_host() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("echo.wasm"), guests::echo()?)?;
    let mut command = jobwright(["plugin", "inspect", "echo.wasm"])?;
    let output = command.env("JOBWRIGHT_HOST", "nonsense").current_dir(folder.path()).output();
    let output = output.await?;
    let shown = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{output:?}");
    for part in [
        "abi           wasi-command-p1\n",
        "digest        sha256:",
        "memory        128 KiB at the start\n",
        "imports       wasi_snapshot_preview1.fd_read\n",
        "              wasi_snapshot_preview1.fd_write\n",
        "exports       _start\n",
    ] {
        ensure!(shown.contains(part), "{part}: {shown}");
    }
    ensure!(!shown.contains("note") && !shown.contains("entry points"), "{shown}");
    Ok(())
}

async fn a_plugin_is_described_as_the_host_describes_it() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let said = shell.json("plugin inspect echo.wasm").await?;
    let uploaded = shell.json("plugin push echo.wasm").await?;
    for field in
        ["abi", "digest", "size_bytes", "imports", "exports", "grants", "minimum_memory_bytes"]
    {
        ensure!(!said[field].is_null(), "{said}");
        assert_eq!(said[field], uploaded[field], "{field}");
    }
    assert_eq!(said["notes"], json!([]));
    Ok(())
}

/// An Extism plug-in with two functions, one of which sends an HTTP request.
const EXTISM: &str = r#"(module
  (import "extism:host/env" "http_request" (func (param i64 i64) (result i64)))
  (memory (export "memory") 1)
  (func (export "greet") (result i32) i32.const 0)
  (func (export "fetch") (result i32) i32.const 0))"#;

async fn the_entry_points_of_an_extism_plug_in_are_shown() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    std::fs::write(shell.folder.path().join("two.wasm"), guests::assemble(EXTISM)?)?;
    let said = shell.json("plugin inspect two.wasm").await?;
    ensure!(said["abi"] == "extism" && said["entrypoints"] == json!(["fetch", "greet"]), "{said}");
    let shown = shell.text("plugin inspect two.wasm").await?;
    ensure!(shown.contains("entry points  fetch\n              greet\n"), "{shown}");
    ensure!(said["notes"] == json!([]), "what may be granted is no note: {said}");
    ensure!(said["grants"] == json!(["http"]) && shown.contains("grants        http\n"), "{said}");
    Ok(())
}

async fn inspect_reports_the_errors_of_an_upload() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let write = |name: &str, bytes: &[u8]| std::fs::write(shell.folder.path().join(name), bytes);
    write("text.wasm", b"(module)")?;
    write("library.wasm", &guests::assemble(r#"(module (func (export "add")))"#)?)?;
    let aborting = r#"(module (import "env" "abort" (func)) (func (export "_start")))"#;
    write("aborting.wasm", &guests::assemble(aborting)?)?;
    for (name, code) in [("text", "(not_wasm)"), ("library", ""), ("aborting", "(unknown_import)")]
    {
        let inspected = shell.run(&format!("plugin inspect {name}.wasm")).await?;
        let pushed = shell.run(&format!("plugin push {name}.wasm")).await?;
        let said = String::from_utf8(inspected.stderr)?;
        ensure!(said.starts_with("error: ") && said.trim_end().ends_with(code), "{said}");
        assert_eq!(said, String::from_utf8(pushed.stderr)?);
        assert_eq!((inspected.status.code(), pushed.status.code()), (Some(65), Some(65)));
    }
    assert_eq!(shell.run("plugin inspect missing.wasm").await?.status.code(), Some(66));
    Ok(())
}
