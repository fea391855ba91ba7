//! Limits of compilations, and that they do not delay other requests.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_tests::{DEADLINE, HostProcess, TestHost, guests, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::put;

pub fn trials() -> Vec<Trial> {
    tests![
        a_plugin_that_takes_too_long_to_compile_is_refused,
        a_plugin_that_takes_too_much_memory_to_compile_is_refused,
        machine_code_is_no_plugin,
        the_compile_process_ends_with_its_host,
        plugins_that_take_long_to_compile_do_not_delay_others,
        an_upload_whose_compile_process_was_killed_may_be_retried,
    ]
}

/// Code that takes seconds to compile, in some hundred kB.
const BRANCHES: usize = 20_000;

async fn a_plugin_that_takes_too_long_to_compile_is_refused() -> anyhow::Result<()> {
    let change = |config: &mut jobwright::Config| config.compile.timeout = Duration::from_secs(1);
    let host = TestHost::configured(change).await?;
    host.push("echo", guests::echo()?).await?;
    let bomb = put(&host, "/v1/plugins/bomb", guests::slow_to_compile(BRANCHES)?);
    let (refused, victim) = tokio::join!(bomb, host.run(json!({ "plugin": "echo", "payload": 1 })));
    ensure!(victim?["state"] == "completed");
    let problem = refused?.problem(422)?;
    let code = problem["code"].as_str().unwrap_or_default();
    // Wall-clock time or processor time, whichever limit is reached first.
    ensure!(["compile_timeout", "plugin_unusable"].contains(&code), "{problem}");
    ensure!(problem["detail"].to_string().contains("1 s"), "{problem}");
    ensure!(host.get("/v1/plugins/bomb").await?.status() == 404, "nothing is left of it");
    put(&host, "/v1/plugins/small", guests::slow_to_compile(100)?).await?.ok(201)?;
    Ok(())
}

async fn a_plugin_that_takes_too_much_memory_to_compile_is_refused() -> anyhow::Result<()> {
    // More than half of it is for the stacks of its threads and two arenas of the allocator.
    let host = TestHost::configured(|config| config.compile.memory_bytes = 320 << 20).await?;
    let bomb = guests::slow_to_compile(5 * BRANCHES)?;
    let problem = put(&host, "/v1/plugins/bomb", bomb).await?.problem(422)?;
    ensure!(problem["detail"].to_string().contains("more than 320 MiB of memory"), "{problem}");
    put(&host, "/v1/plugins/small", guests::slow_to_compile(100)?).await?.ok(201)?;
    Ok(())
}

async fn machine_code_is_no_plugin() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let compiled = std::fs::read_dir(host.directory().join("compiled"))?;
    for file in compiled {
        // Code that the host has compiled, with its header and without.
        let code = std::fs::read(file?.path())?;
        let elf = code.windows(4).position(|bytes| bytes == b"\x7fELF").context("it is ELF")?;
        for code in [&code[..], &code[elf..]] {
            let problem = put(&host, "/v1/plugins/code", code.to_vec()).await?.problem(415)?;
            ensure!(problem["code"] == "not_wasm", "{problem}");
        }
    }
    Ok(())
}

async fn the_compile_process_ends_with_its_host() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let host = HostProcess::start(data.path(), &[]).await?;
    let id = host.id().context("it runs")?;
    let url = format!("{}/v1/plugins/bomb", host.url());
    let bomb = guests::slow_to_compile(10 * BRANCHES)?;
    let upload = tokio::spawn(reqwest::Client::new().put(url).body(bomb).send());
    let compiling = until(|| child_of(id)).await?;
    host.kill().await?;
    let gone = until(|| (!is_running(compiling)).then_some(())).await;
    ensure!(upload.await?.is_err(), "the upload got a response");
    gone
}

async fn plugins_that_take_long_to_compile_do_not_delay_others() -> anyhow::Result<()> {
    let change = |config: &mut jobwright::Config| config.compile.timeout = Duration::from_secs(48);
    let host = TestHost::configured(change).await?;
    host.push("echo", guests::echo()?).await?;
    let mut slow = vec![];
    for n in 0..3 {
        let path = format!("/v1/plugins/slow{n}?version=1.0.0");
        let bomb = guests::slow_to_compile(20 * BRANCHES + n)?;
        slow.push(tokio::spawn(host.request(reqwest::Method::PUT, &path).body(bomb).send()));
    }
    let process = std::process::id();
    until(|| child_of(process)).await?;
    // A plugin that is already compiled, and one that compiles quickly.
    put(&host, "/v1/plugins/other?version=1.0.0", guests::echo()?).await?.ok(201)?;
    put(&host, "/v1/plugins/small", guests::slow_to_compile(100)?).await?.ok(201)?;
    ensure!(
        slow.iter().any(|upload| !upload.is_finished()),
        "the slow plugins were compiled too soon"
    );
    Ok(())
}

async fn an_upload_whose_compile_process_was_killed_may_be_retried() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let host = HostProcess::start(data.path(), &[]).await?;
    let id = host.id().context("it runs")?;
    let url = format!("{}/v1/plugins/slow", host.url());
    // Signals that the compile process does not ignore. It inherits that SIGQUIT is ignored from tests in the background.
    for signal in ["ABRT", "KILL", "USR1"] {
        let slow = guests::slow_to_compile(10 * BRANCHES)?;
        let upload = tokio::spawn(reqwest::Client::new().put(&url).body(slow).send());
        let compiling = until(|| child_of(id)).await?.to_string();
        let killed = Command::new("kill").args(["-s", signal, &compiling]).status()?;
        ensure!(killed.success(), "{killed}");
        let answer = upload.await??;
        ensure!(answer.status() == 503, "{signal}: {answer:?}");
        ensure!(answer.headers().contains_key("retry-after"), "{answer:?}");
    }
    Ok(())
}

/// Calls `look` until it finds something; returns that.
async fn until<T>(look: impl Fn() -> Option<T>) -> anyhow::Result<T> {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    Ok(tokio::time::timeout(DEADLINE, found).await?)
}

/// A child of the process `parent` that runs its own program. Before `exec`, it would handle signals as
/// its parent does; after its end, it has no arguments.
fn child_of(parent: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children =
        tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("children")));
    let child = children.flatten().find_map(|ids| ids.split_whitespace().next()?.parse().ok())?;
    let line = |id: u32| std::fs::read(format!("/proc/{id}/cmdline")).ok();
    let its_own = line(child).filter(|line| !line.is_empty())?;
    (its_own != line(parent)?).then_some(child)
}

/// Whether the process exists and is not a zombie.
fn is_running(process: u32) -> bool {
    let status = Path::new("/proc").join(process.to_string()).join("status");
    std::fs::read_to_string(status).is_ok_and(|status| !status.contains("State:\tZ"))
}
