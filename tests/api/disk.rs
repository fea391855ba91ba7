//! Disk use is bounded: a client that uploads and submits without end cannot fill the disk.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jobwright::Config;
use jobwright_tests::{TestHost, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use super::{get, post, put, send, soon};

pub fn trials() -> Vec<Trial> {
    let mut trials = tests![
        below_the_floor_nothing_new_is_accepted,
        plugins_beyond_their_bound_are_refused,
        plugins_of_one_tenant_leave_disk_space_for_those_of_another,
    ];
    let needs = SmallDisk::mount().err().map_or(String::new(), |error| format!("{error:#}"));
    let on_small_disks = tests![
        one_client_cannot_fill_the_disk,
        logs_are_trimmed_before_jobs_are_refused,
        a_host_on_a_full_disk_removes_logs_to_start,
        a_start_on_a_full_disk_fails_with_the_directory_and_the_remedy,
        a_full_host_accepts_jobs_again_after_it_is_drained,
        a_full_host_accepts_jobs_again_after_pruning,
        plugin_uploads_do_not_use_the_space_that_jobs_need,
    ];
    trials.extend(
        on_small_disks
            .into_iter()
            .map(|test| test.with_ignored_flag(!needs.is_empty()).with_kind(needs.clone())),
    );
    trials
}

const MIB: u64 = 1 << 20;

async fn below_the_floor_nothing_new_is_accepted() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("echo", guests::echo()?).await?;
    let done = host.run(json!({ "plugin": "echo" })).await?;
    let id = done["id"].as_str().context("an id")?.to_owned();
    // A floor above the free space of any disk.
    let host = TestHost::on(host.stop().await?, |config| config.disk.free_bytes = u64::MAX).await?;
    let job = json!({ "plugin": "echo" });
    let problem = post(&host, "/v1/jobs", job.to_string()).await?;
    assert_eq!(problem.header("retry-after"), "60");
    let problem = problem.problem(503)?;
    ensure!(problem["code"] == "disk_low", "{problem}");
    ensure!(
        problem["detail"].to_string().contains("of free space, and the job store can reuse"),
        "{problem}"
    );
    post(&host, "/v1/jobs/batch", json!([job]).to_string()).await?.problem(503)?;
    post(&host, &format!("/v1/jobs/{id}/retry"), "").await?.problem(503)?;
    put(&host, "/v1/plugins/log", guests::log()?).await?.problem(503)?;
    // Stored plugins can be read and removed.
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
    // The same bytes need no more space, and removing plugins makes space.
    put(&host, "/v1/plugins/other?version=2.0.0", echo).await?.ok(201)?;
    for name in ["echo", "other"] {
        let path = format!("/v1/plugins/{name}");
        host.request(reqwest::Method::DELETE, &path).send().await?.error_for_status()?;
    }
    put(&host, "/v1/plugins/log", log).await?.ok(201)?;
    Ok(())
}

async fn plugins_of_one_tenant_leave_disk_space_for_those_of_another() -> anyhow::Result<()> {
    let host = TestHost::configured(|config| config.disk.plugin_bytes = 10_000).await?;
    let upload = async |tenant: &str, n: usize| {
        let filler =
            format!(r#"(module (func (export "_start")) (data "{n:03}{}"))"#, "x".repeat(400));
        let request = host.request(Method::PUT, &format!("/v1/plugins/p{n}"));
        let request = request.header("jobwright-tenant", tenant);
        send(request.body(guests::assemble(&filler)?)).await
    };
    let mut n = 0;
    let refused = loop {
        let answer = upload("greedy", n).await?;
        n += 1;
        match answer.status.as_u16() {
            201 => ensure!(n < 30, "nothing is refused"),
            _ => break answer,
        }
    };
    let detail = refused.problem(507)?["detail"].to_string();
    ensure!(detail.contains("tenant `greedy` holds"), "{detail}");
    upload("modest", n).await?.ok(201)?;
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

    /// Uses up all free space, as another program might.
    fn fill(&self) -> anyhow::Result<()> {
        let mut file = std::fs::File::create(self.0.path().join("ballast"))?;
        for piece in [vec![0; MIB as usize], vec![0; 4096]] {
            while file.write_all(&piece).is_ok() {}
        }
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A remaining mount would use some MiB until the machine stops.
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

/// Bounds that fit the small disk, with write-ahead logs of 32 MiB for each database.
fn bounded(config: &mut Config, disk: &SmallDisk) {
    config.data = disk.folder();
    config.disk.free_bytes = 2 * MIB;
    config.disk.plugin_bytes = 2 * MIB;
    config.disk.compiled_bytes = 4 * MIB;
    config.disk.history_bytes = 8 * MIB;
    config.disk.log_bytes = 4 * MIB;
    config.queue.payload_bytes = 4 * MIB;
}

/// A host on the small disk that reaches its floor before its bound of logs.
async fn host_with_a_floor(disk: &SmallDisk) -> anyhow::Result<TestHost> {
    let change = |config: &mut Config| {
        config.data = disk.folder();
        config.disk.free_bytes = SmallDisk::BYTES / 2;
    };
    TestHost::configured(change).await
}

/// Writes one MiB to its log.
const CHATTER: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\00\00\01\00")
  (func (export "_start") (local $left i32)
    (local.set $left (i32.const 16))
    (loop $more
      (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#;

/// Jobs that together log more than fits on the disk; all are accepted before the first one runs.
async fn chatter(host: &TestHost) -> anyhow::Result<Vec<String>> {
    host.push("chatter", guests::assemble(CHATTER)?).await?;
    host.post("/v1/queues/default/pause", json!({})).await?.error_for_status()?;
    let job = json!({ "plugin": "chatter", "limits": { "log_bytes": MIB } });
    let mut ids = vec![];
    for _ in 0..2 * SmallDisk::BYTES / MIB {
        ids.push(host.submit(job.clone()).await?);
    }
    host.post("/v1/queues/default/resume", json!({})).await?.error_for_status()?;
    Ok(ids)
}

async fn logs_are_trimmed_before_jobs_are_refused() -> anyhow::Result<()> {
    let disk = SmallDisk::mount()?;
    let host = host_with_a_floor(&disk).await?;
    let ids = chatter(&host).await?;
    for id in &ids {
        let job = host.finalized(id).await?;
        ensure!(job["state"] == "completed", "{job}");
    }
    ensure!(host.log(&ids[0]).await?.is_empty(), "the oldest log made room");
    let mut kept = 0;
    for id in &ids {
        kept += usize::from(!host.log(id).await?.is_empty());
    }
    ensure!(kept > 5, "only {kept} logs were kept");
    get(&host, "/readyz").await?.ok(200)?;
    host.stop().await?;
    Ok(())
}

async fn a_host_on_a_full_disk_removes_logs_to_start() -> anyhow::Result<()> {
    let disk = SmallDisk::mount()?;
    let host = host_with_a_floor(&disk).await?;
    let ids = chatter(&host).await?;
    host.finalized(&ids[ids.len() - 1]).await?;
    host.stop().await?;
    disk.fill()?;
    // A thread of the previous host may keep a removed file open for a moment, which no other process
    // would.
    let started = async {
        loop {
            if let Ok(host) = host_with_a_floor(&disk).await {
                break host;
            }
            tokio::task::yield_now().await;
        }
    };
    let host = soon(started).await?;
    for id in &ids {
        let job = host.finalized(id).await?;
        ensure!(job["state"] == "completed", "{job}");
    }
    host.stop().await?;
    Ok(())
}

async fn a_start_on_a_full_disk_fails_with_the_directory_and_the_remedy() -> anyhow::Result<()> {
    let disk = SmallDisk::mount()?;
    host_with_a_floor(&disk).await?.stop().await?;
    disk.fill()?;
    let Err(error) = host_with_a_floor(&disk).await else { bail!("the host started") };
    let (message, path) = (format!("{error:#}"), disk.folder().display().to_string());
    ensure!(message.contains("free some space") && message.contains(&path), "{message}");
    Ok(())
}

async fn one_client_cannot_fill_the_disk() -> anyhow::Result<()> {
    let disk = SmallDisk::mount()?;
    let host = TestHost::configured(|config| bounded(config, &disk)).await?;
    host.push("echo", guests::echo()?).await?;
    host.push("log", guests::log()?).await?;
    // Payloads of twice the size of the disk, which become outputs and logs.
    let payload = "x".repeat(512 << 10);
    for n in 0..320 {
        let plugin = if n % 2 == 0 { "echo" } else { "log" };
        let job = host.run(json!({ "plugin": plugin, "payload": payload })).await?;
        ensure!(job["state"] == "completed", "{n}: {job}");
    }
    // Plugins with different bytes until no more are accepted.
    let mut refused = 0;
    for n in 0..40 {
        let filler = "x".repeat(100 << 10);
        let text = format!(r#"(module (func (export "_start")) (data "{n}{filler}"))"#);
        let answer = put(&host, &format!("/v1/plugins/p{n}"), guests::assemble(&text)?).await?;
        refused += usize::from(answer.problem(507).is_ok());
    }
    ensure!(refused > 0, "no upload was refused");
    // Later requests succeed.
    let job = host.run(json!({ "plugin": "echo", "payload": 1 })).await?;
    ensure!(job["state"] == "completed" && job["output_bytes"] == 1, "{job}");
    host.stop().await?;
    Ok(())
}

/// Fills the disk down to the floor with waiting jobs, and checks that the host reports it; returns
/// the ids of the jobs.
async fn filled(host: &TestHost) -> anyhow::Result<Vec<String>> {
    host.push("echo", guests::echo()?).await?;
    host.post("/v1/queues/default/pause", json!({})).await?.error_for_status()?;
    let mut ids = vec![];
    let refused = loop {
        // Twice the size of the disk must be enough.
        ensure!(ids.len() as u64 * 700_000 < 2 * SmallDisk::BYTES, "nothing is refused");
        let answer = post(host, "/v1/jobs?plugin=echo", "x".repeat(700_000)).await?;
        if answer.status != 202 {
            break answer;
        }
        ids.push(answer.json()?["id"].as_str().context("an id")?.to_owned());
    };
    assert_eq!(refused.code(503)?, "disk_low");
    let ready = get(host, "/readyz").await?.ok(503)?;
    assert_eq!(ready["code"], "disk_low", "{ready}");
    host.post("/v1/queues/default/resume", json!({})).await?.error_for_status()?;
    Ok(ids)
}

/// A host whose floor is a third of the small disk.
async fn host_to_be_filled(
    disk: &SmallDisk,
    change: impl FnOnce(&mut Config),
) -> anyhow::Result<TestHost> {
    TestHost::configured(|config| {
        config.data = disk.folder();
        config.disk.free_bytes = SmallDisk::BYTES / 3;
        change(config);
    })
    .await
}

async fn a_full_host_accepts_jobs_again_after_it_is_drained() -> anyhow::Result<()> {
    let disk = SmallDisk::mount()?;
    let host = host_to_be_filled(&disk, |_| {}).await?;
    let ids = filled(&host).await?;
    for id in &ids {
        let answer = get(&host, &format!("/v1/jobs/{id}?wait=60s")).await?;
        // Earlier jobs may have been removed for the outputs of later ones.
        ensure!([200, 404].contains(&answer.status.as_u16()), "{answer:?}");
    }
    get(&host, "/readyz").await?.ok(200)?;
    // The same amount again: finalized jobs are removed, and the disk does not fill up.
    for n in 0..2 * ids.len() {
        let path = "/v1/jobs?plugin=echo";
        let answer = post(&host, path, "x".repeat(700_000)).await?.ok(202)?;
        let job = host.finalized(answer["id"].as_str().context("an id")?).await?;
        ensure!(job["state"] == "completed", "{n}: {job}");
    }
    host.stop().await?;
    let host = host_to_be_filled(&disk, |_| {}).await?;
    get(&host, "/readyz").await?.ok(200)?;
    post(&host, "/v1/jobs?plugin=echo", "x").await?.ok(202)?;
    host.stop().await?;
    Ok(())
}

async fn plugin_uploads_do_not_use_the_space_that_jobs_need() -> anyhow::Result<()> {
    let disk = SmallDisk::mount()?;
    let host = host_to_be_filled(&disk, |_| {}).await?;
    for id in &filled(&host).await? {
        get(&host, &format!("/v1/jobs/{id}?wait=60s")).await?;
    }
    // More than all free space.
    let filler = "x".repeat(2 << 20);
    for n in 0..SmallDisk::BYTES / 2 / MIB {
        let text = format!(r#"(module (func (export "_start")) (data "{n}{filler}"))"#);
        let answer = put(&host, &format!("/v1/plugins/p{n}"), guests::assemble(&text)?).await?;
        ensure!([201, 503].contains(&answer.status.as_u16()), "{answer:?}");
    }
    get(&host, "/readyz").await?.ok(200)?;
    post(&host, "/v1/jobs?plugin=echo", "x").await?.ok(202)?;
    host.stop().await?;
    Ok(())
}

async fn a_full_host_accepts_jobs_again_after_pruning() -> anyhow::Result<()> {
    let disk = SmallDisk::mount()?;
    let short = |config: &mut Config| config.retention.completed = Duration::from_secs(1);
    let host = host_to_be_filled(&disk, short).await?;
    let ids = filled(&host).await?;
    for id in &ids {
        get(&host, &format!("/v1/jobs/{id}?wait=60s")).await?;
    }
    host.stop().await?;
    let host = host_to_be_filled(&disk, short).await?;
    get(&host, "/readyz").await?.ok(200)?;
    post(&host, "/v1/jobs?plugin=echo", "x").await?.ok(202)?;
    host.stop().await?;
    Ok(())
}
