//! `jobwright run` with grants, secrets, configuration and stored values; and its cache of compiled code.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use jobwright_tests::fetch::Fetch;
use jobwright_tests::{Server, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::Shell;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_run_reaches_granted_origins_and_logs_denied_requests,
        a_run_sends_a_secret_without_seeing_it,
        a_run_reads_configuration_and_keeps_values_in_a_file,
        invalid_grants_are_refused,
        compiled_code_is_cached_for_the_next_run,
    ]
}

impl Shell {
    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
        Ok(std::fs::write(self.folder.path().join(name), bytes)?)
    }
}

fn asking(server: &Server) -> Fetch {
    let authority = server.address().to_string();
    Fetch { authority, path: "/x".to_owned(), ..Fetch::default() }
}

fn to(server: &Server) -> String {
    json!({ "http": [{ "origin": format!("http://{}", server.address()) }] }).to_string()
}

async fn a_run_reaches_granted_origins_and_logs_denied_requests() -> anyhow::Result<()> {
    let (shell, server) = (Shell::new().await?, Server::answering(|_| Server::ok("hello")).await?);
    shell.put("fetch.wasm", asking(&server).command()?)?;
    let denied = shell.run("run fetch.wasm").await?;
    let log = String::from_utf8_lossy(&denied.stderr).into_owned();
    ensure!(log.contains("WARN: jobwright: ") && log.contains("denied"), "{log}");
    ensure!(denied.stdout.starts_with(b"E") && server.seen().is_empty(), "{denied:?}");
    // A name with a private address, which no grant allows. Only the host's log has the address.
    let authority = format!("localhost:{}", server.address().port());
    let grants = json!({ "http": [{ "origin": format!("http://{authority}") }] }).to_string();
    shell.put("named.wasm", Fetch { authority, ..asking(&server) }.command()?)?;
    let mut run = shell.command(&format!("run named.wasm --grants {grants}"))?;
    let denied = run.env_remove("JOBWRIGHT_LOG").output().await?;
    let log = String::from_utf8_lossy(&denied.stderr).into_owned();
    ensure!(
        log.contains("denied a request: the name has an address") && log.contains("127.0.0.1"),
        "{log}"
    );
    shell.put("grants.json", to(&server))?;
    for grants in [to(&server), "grants.json".to_owned(), "@grants.json".to_owned()] {
        let granted = shell.run(&format!("run fetch.wasm --grants {grants}")).await?;
        ensure!(granted.stdout == b"hello", "{granted:?}");
    }
    Ok(())
}

async fn a_run_sends_a_secret_without_seeing_it() -> anyhow::Result<()> {
    let (shell, server) = (Shell::new().await?, Server::answering(|_| Server::ok("done")).await?);
    let header = ("authorization".to_owned(), "Bearer jobwright-secret(API_KEY)".to_owned());
    let fetch = Fetch { header: Some(header), ..asking(&server) };
    shell.put("fetch.wasm", fetch.command()?)?;
    shell.put("key", "s3cr3t-fr0m-a-file\n")?;
    let grants = to(&server);
    let line = format!("run fetch.wasm --grants {grants} --secret API_KEY");
    let output = shell.command(&line)?.env("API_KEY", "s3cr3t-fr0m-env").output().await?;
    ensure!(output.stdout == b"done", "{output:?}");
    let output = shell.run(&format!("{line}=key")).await?;
    ensure!(output.stdout == b"done", "{output:?}");
    let seen = server.seen();
    ensure!(seen[0].contains("Bearer s3cr3t-fr0m-env\r\n"), "{seen:?}");
    ensure!(seen[1].contains("Bearer s3cr3t-fr0m-a-file\r\n"), "{seen:?}");
    Ok(())
}

/// Adds 1 to `n`, and writes the configured `mode`.
const COUNTS: &str = r#"(module
  (import "jobwright" "value_add" (func $add (param i32 i32 i64 i32) (result i32)))
  (import "jobwright" "config_get" (func $config (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "nmode")
  (func (export "_start")
    (drop (call $add (i32.const 64) (i32.const 1) (i64.const 1) (i32.const 16)))
    (i32.store (i32.const 0) (i32.const 128))
    (i32.store (i32.const 4)
      (call $config (i32.const 65) (i32.const 4) (i32.const 128) (i32.const 64)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

async fn a_run_reads_configuration_and_keeps_values_in_a_file() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    shell.put("counts.wasm", guests::assemble(COUNTS)?)?;
    let line = "run counts.wasm --config-value mode=fast --key-value kept.json";
    for count in 1..=2 {
        let output = shell.run(line).await?;
        ensure!(output.status.success() && output.stdout == b"fast", "{output:?}");
        let kept: Value =
            serde_json::from_slice(&std::fs::read(shell.folder.path().join("kept.json"))?)?;
        assert_eq!(kept, json!({ "default": { "n": count.to_string() } }));
    }
    shell.put("kept.json", r#"{"default": {"n": "41"}}"#)?;
    shell.run(line).await?;
    let kept = std::fs::read_to_string(shell.folder.path().join("kept.json"))?;
    ensure!(kept.contains("\"42\""), "{kept}");
    let denied = shell.run("run counts.wasm").await?;
    let log = String::from_utf8_lossy(&denied.stderr).into_owned();
    ensure!(log.contains("denied") && log.contains("configuration"), "{log}");
    Ok(())
}

async fn invalid_grants_are_refused() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    for (line, code, part) in [
        ("run echo.wasm --grants {\"htp\":1}", 65, "grants.htp: is not a grant"),
        ("run echo.wasm --grants missing.json", 66, "cannot read the grants in missing.json"),
        ("run echo.wasm --grants {\"secrets\":[\"KEY\"]}", 64, "--secret KEY=FILE"),
        ("run echo.wasm --secret KEY", 66, "set the variable KEY"),
        ("run echo.wasm --secret KEY=missing", 66, "cannot read the secret `KEY` in missing"),
        ("run echo.wasm --config-value mode", 64, "use NAME=VALUE"),
    ] {
        let output = shell.run(line).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code) && said.contains(part), "{line}: {said}");
    }
    Ok(())
}

async fn compiled_code_is_cached_for_the_next_run() -> anyhow::Result<()> {
    let shell = Shell::new().await?;
    let cache = shell.folder.path().join("cache");
    let run = async || -> anyhow::Result<()> {
        let mut command = shell.command("run echo.wasm --data x")?;
        let output = command.env("XDG_CACHE_HOME", &cache).output().await?;
        ensure!(output.stdout == b"x", "{output:?}");
        Ok(())
    };
    run().await?;
    let folder = cache.join("jobwright/compiled");
    let mode = std::fs::metadata(&folder)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "it is the user's alone");
    let files: Vec<_> = std::fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    assert_eq!(files.len(), 1);
    let file = std::fs::File::options().write(true).open(files[0].path())?;
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    file.set_modified(old)?;
    run().await?;
    // Loading updates the time of last use.
    ensure!(std::fs::metadata(files[0].path())?.modified()? > old, "it was compiled again");
    assert_eq!(std::fs::read_dir(&folder)?.count(), 1);
    // Without a usable cache, the plugin is compiled.
    let blocked = shell.folder.path().join("blocked");
    std::fs::write(&blocked, "a file")?;
    let mut command = shell.command("run echo.wasm --data x")?;
    let output = command.env("XDG_CACHE_HOME", &blocked).output().await?;
    ensure!(output.stdout == b"x", "{output:?}");
    files.first().context("a file").map(drop)
}
