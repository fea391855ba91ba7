//! The disk is bounded: a stranger who uploads and submits for ever fills his allowance.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use jobwright::Config;
use jobwright_tests::{TestHost, guests, tests, trial};
use libtest_mimic::Trial;
use serde_json::json;
use tempfile::TempDir;

use super::{get, post, put};

pub fn trials() -> Vec<Trial> {
    let mut trials =
        tests![below_the_floor_nothing_new_is_accepted, plugins_beyond_their_bound_are_refused,];
    let name = format!("{}::a_stranger_fills_his_allowance_and_not_the_disk", module_path!());
    let test = trial(&name, || Box::pin(a_stranger_fills_his_allowance_and_not_the_disk()));
    let needs = SmallDisk::mount().err().map_or(String::new(), |error| format!("{error:#}"));
    trials.push(test.with_ignored_flag(!needs.is_empty()).with_kind(needs));
    trials
}

const MIB: u64 = 1 << 20;

async fn below_the_floor_nothing_new_is_accepted() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let done = host.run(json!({ "plugin": "echo" })).await?;
    let id = done["id"].as_str().context("an id")?.to_owned();
    // A floor that no disk reaches.
    let host = TestHost::on(host.stop().await?, |config| config.disk.free_bytes = u64::MAX).await?;
    let job = json!({ "plugin": "echo" });
    let problem = post(&host, "/v1/jobs", job.to_string()).await?;
    assert_eq!(problem.header("retry-after"), "60");
    let problem = problem.problem(503)?;
    ensure!(problem["code"] == "disk_low", "{problem}");
    ensure!(problem["detail"].to_string().contains("of free space, less than the"), "{problem}");
    post(&host, "/v1/jobs/batch", json!([job]).to_string()).await?.problem(503)?;
    post(&host, &format!("/v1/jobs/{id}/retry"), "").await?.problem(503)?;
    put(&host, "/v1/plugins/log", guests::log()?).await?.problem(503)?;
    // What there is can be read and removed.
    get(&host, &format!("/v1/jobs/{id}")).await?.ok(200)?;
    let gone = host.request(reqwest::Method::DELETE, "/v1/plugins/echo").send().await?;
    ensure!(gone.status().is_success(), "{gone:?}");
    Ok(())
}

async fn plugins_beyond_their_bound_are_refused() -> anyhow::Result<()> {
    let (echo, log) = (guests::echo()?, guests::log()?);
    let most = echo.len() as u64 + 10;
    let host = TestHost::configured(|config| config.disk.plugin_bytes = most).await?;
    host.push("echo", echo.clone()).await?;
    let problem = put(&host, "/v1/plugins/log", log.clone()).await?.problem(507)?;
    ensure!(problem["code"] == "registry_full", "{problem}");
    // The same bytes take no more room, and removed ones make some.
    put(&host, "/v1/plugins/other?version=2.0.0", echo).await?.ok(201)?;
    for name in ["echo", "other"] {
        let path = format!("/v1/plugins/{name}");
        host.request(reqwest::Method::DELETE, &path).send().await?.error_for_status()?;
    }
    put(&host, "/v1/plugins/log", log).await?.ok(201)?;
    Ok(())
}

/// A small file system of its own.
struct SmallDisk(TempDir);

impl SmallDisk {
    const BYTES: u64 = 160 * MIB;

    fn mount() -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let mut mount = Command::new("mount");
        let size = format!("size={}", Self::BYTES);
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path());
        let done = mount.output().context("needs a `mount`")?;
        let why = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "needs to mount a file system: {}", why.trim());
        Ok(Self(directory))
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A mount that stays behind holds some MiB until the machine stops.
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

/// Bounds that the small disk has room for, with write-ahead logs of 32 MiB for each database.
fn bounded(config: &mut Config, disk: &SmallDisk) {
    config.data = disk.folder();
    config.disk.free_bytes = 2 * MIB;
    config.disk.plugin_bytes = 2 * MIB;
    config.disk.compiled_bytes = 4 * MIB;
    config.disk.history_bytes = 8 * MIB;
    config.disk.log_bytes = 4 * MIB;
    config.queue.payload_bytes = 4 * MIB;
}

async fn a_stranger_fills_his_allowance_and_not_the_disk() -> anyhow::Result<()> {
    let disk = SmallDisk::mount()?;
    let host = TestHost::configured(|config| bounded(config, &disk)).await?;
    host.push("echo", guests::echo()?).await?;
    host.push("log", guests::log()?).await?;
    // Twice the disk, in payloads that become outputs and logs.
    let payload = "x".repeat(512 << 10);
    for n in 0..320 {
        let plugin = if n % 2 == 0 { "echo" } else { "log" };
        let job = host.run(json!({ "plugin": plugin, "payload": payload })).await?;
        ensure!(job["state"] == "completed", "{n}: {job}");
    }
    // And plugins until no more are taken: each other bytes.
    let mut refused = 0;
    for n in 0..40 {
        let filler = "x".repeat(100 << 10);
        let text = format!(r#"(module (func (export "_start")) (data "{n}{filler}"))"#);
        let answer = put(&host, &format!("/v1/plugins/p{n}"), guests::assemble(&text)?).await?;
        refused += usize::from(answer.problem(507).is_ok());
    }
    ensure!(refused > 0, "they would have filled the disk");
    // Who comes after is served.
    let job = host.run(json!({ "plugin": "echo", "payload": 1 })).await?;
    ensure!(job["state"] == "completed" && job["output_bytes"] == 1, "{job}");
    host.stop().await?;
    Ok(())
}
