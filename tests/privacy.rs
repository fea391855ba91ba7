//! Other users of the machine cannot read a host's data, and a host detects that data is missing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use jobwright::Config;
use jobwright_tests::{HostProcess, TestHost, guests, jobwright, tests, write_private};
use libtest_mimic::Trial;
use reqwest::{Client, Method};
use serde_json::json;
use tempfile::TempDir;

pub fn trials() -> Vec<Trial> {
    tests![
        a_directory_that_others_could_reach_is_made_private,
        files_of_earlier_versions_are_tightened,
        a_directory_of_something_else_is_refused,
        a_host_leaves_no_core_dump,
        a_file_of_keys_that_others_can_read_is_refused,
        a_host_that_has_lost_its_keys_does_not_start,
        a_host_that_is_not_given_its_file_of_keys_again_does_not_start,
        a_directory_that_has_lost_its_secrets_is_refused,
        a_directory_that_has_lost_its_values_is_refused,
        a_directory_that_has_lost_its_plugins_is_refused,
    ]
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| path.display().to_string())
}

/// A directory as a service manager makes it (systemd's `StateDirectory=`).
fn state_directory() -> anyhow::Result<TempDir> {
    let data = tempfile::tempdir()?;
    set_mode(data.path(), 0o755)?;
    Ok(data)
}

/// All files and folders at and below `path`.
fn all(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            found.extend(all(&entry?.path())?);
        }
    }
    Ok(found)
}

/// Checks that only the owner may access `path` and everything below it.
fn is_private(path: &Path) -> anyhow::Result<()> {
    let found = all(path)?;
    for name in ["lock", "jobs.db", "jobs.db-wal", "access.db", "values.db", "plugins", "seed.key"]
    {
        ensure!(found.contains(&path.join(name)), "{name} is not among {found:?}");
    }
    for path in found {
        let mode = fs::symlink_metadata(&path)?.mode() & 0o777;
        ensure!(mode & 0o077 == 0, "{} has mode {mode:o}", path.display());
    }
    Ok(())
}

/// Uploads a plugin, runs a job and sets a secret.
async fn uses(host: &HostProcess) -> anyhow::Result<()> {
    let (http, url) = (Client::new(), host.url());
    let put = |path: &str| http.put(format!("{url}/v1/{path}"));
    put("plugins/echo").body(guests::echo()?).send().await?.error_for_status()?;
    let secret = json!({ "value": "s3cr3t-v4lue", "origins": ["https://api.example.com"] });
    put("secrets/KEY").json(&secret).send().await?.error_for_status()?;
    let job = http.post(format!("{url}/v1/jobs")).json(&json!({ "plugin": "echo" }));
    let job = job.header("prefer", "wait=60").send().await?;
    ensure!(job.status() == 200, "{}", job.status());
    Ok(())
}

async fn a_directory_that_others_could_reach_is_made_private() -> anyhow::Result<()> {
    let data = state_directory()?;
    let host = HostProcess::start(data.path(), &[]).await?;
    uses(&host).await?;
    is_private(data.path())
}

async fn files_of_earlier_versions_are_tightened() -> anyhow::Result<()> {
    let data = state_directory()?;
    let host = HostProcess::start(data.path(), &[]).await?;
    uses(&host).await?;
    host.kill().await?;
    for path in all(data.path())? {
        // Every version creates this file with mode 0600, and a host refuses it with another mode.
        if !path.ends_with("secrets.json") {
            set_mode(&path, if path.is_dir() { 0o755 } else { 0o644 })?;
        }
    }
    let _host = HostProcess::start(data.path(), &[]).await?;
    is_private(data.path())
}

async fn a_directory_of_something_else_is_refused() -> anyhow::Result<()> {
    let data = state_directory()?;
    fs::create_dir(data.path().join("dpkg"))?;
    let path = data.path().to_str().context("a path")?;
    let output = jobwright(["serve", "--listen", "127.0.0.1:0", "--data", path])?.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("`dpkg`"), "{said}");
    ensure!(said.contains("0755") && said.contains("chmod 700"), "{said}");
    assert_eq!(fs::metadata(path)?.mode() & 0o777, 0o755);
    Ok(())
}

async fn a_host_leaves_no_core_dump() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let host = HostProcess::start(data.path(), &[]).await?;
    let id = host.id().context("it runs")?;
    let limits = fs::read_to_string(format!("/proc/{id}/limits"))?;
    let cores = limits.lines().find(|line| line.starts_with("Max core file size"));
    let cores: Vec<&str> = cores.unwrap_or_default().split_whitespace().skip(4).take(2).collect();
    assert_eq!(cores, ["0", "0"], "{limits}");
    Ok(())
}

/// The error of a host that refuses to start on a directory.
async fn refusal(
    directory: &Arc<TempDir>,
    change: impl FnOnce(&mut Config),
) -> anyhow::Result<String> {
    match TestHost::on(directory.clone(), change).await {
        Err(error) => Ok(format!("{error:#}")),
        Ok(host) => bail!("a host started on {}", host.address()),
    }
}

async fn a_file_of_keys_that_others_can_read_is_refused() -> anyhow::Result<()> {
    let (directory, folder) = (Arc::new(tempfile::tempdir()?), tempfile::tempdir()?);
    let keys = folder.path().join("keys");
    fs::write(&keys, "0123456789abcdef\n")?;
    for mode in [0o644, 0o640, 0o602] {
        set_mode(&keys, mode)?;
        let message = refusal(&directory, |config| config.api_keys = Some(keys.clone())).await?;
        let shown = format!("{mode:o}");
        ensure!(message.contains(&shown) && message.contains("chmod 600"), "{message}");
    }
    set_mode(&keys, 0o600)?;
    TestHost::on(directory, |config| config.api_keys = Some(keys)).await?;
    Ok(())
}

/// Removes a part of a data directory, with SQLite's `-wal` and `-shm` files.
fn lose(directory: &TempDir, name: &str) -> anyhow::Result<()> {
    let mut lost = 0;
    for entry in fs::read_dir(directory.path())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|found| found.to_string_lossy().starts_with(name)) {
            if path.is_dir() {
                fs::remove_dir_all(path)?
            } else {
                fs::remove_file(path)?
            }
            lost += 1;
        }
    }
    ensure!(lost > 0, "there is no {name}");
    Ok(())
}

async fn a_host_that_has_lost_its_keys_does_not_start() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.post("/v1/keys", json!({ "scopes": ["admin"] })).await?.error_for_status()?;
    let directory = host.stop().await?;
    lose(&directory, "access.db")?;
    for _ in 0..2 {
        let message = refusal(&directory, |_| {}).await?;
        for word in ["access.db", "--api-keys", "--insecure-no-auth", "had/keys"] {
            ensure!(message.contains(word), "no `{word}` in: {message}");
        }
    }
    let host = TestHost::on(directory, |config| config.insecure_no_auth = true).await?;
    host.get("/v1/jobs").await?.error_for_status()?;
    let directory = host.stop().await?;
    refusal(&directory, |_| {}).await?;
    Ok(())
}

async fn a_host_that_is_not_given_its_file_of_keys_again_does_not_start() -> anyhow::Result<()> {
    let (directory, folder) = (Arc::new(tempfile::tempdir()?), tempfile::tempdir()?);
    let keys = folder.path().join("keys");
    write_private(&keys, "0123456789abcdef\n")?;
    let given = |config: &mut Config| config.api_keys = Some(keys.clone());
    let directory = TestHost::on(directory, given).await?.stop().await?;
    let message = refusal(&directory, |_| {}).await?;
    ensure!(message.contains("--api-keys FILE as before"), "{message}");
    let directory = TestHost::on(directory, given).await?.stop().await?;
    fs::remove_file(directory.path().join("had/keys"))?;
    TestHost::on(directory, |_| {}).await?;
    Ok(())
}

/// Checks that the directory of `host` is refused without `name`, and accepted when it is back.
async fn is_missed(host: TestHost, name: &str, part: &str) -> anyhow::Result<()> {
    let directory = host.stop().await?;
    let kept = tempfile::tempdir()?;
    fs::rename(directory.path().join(name), kept.path().join("part"))?;
    let message = refusal(&directory, |_| {}).await?;
    ensure!(message.contains(name) && message.contains(part), "{message}");
    fs::remove_dir_all(directory.path().join(name)).ok();
    fs::rename(kept.path().join("part"), directory.path().join(name))?;
    let directory = TestHost::on(directory, |_| {}).await?.stop().await?;
    lose(&directory, name.split('/').next().unwrap_or(name))?;
    fs::remove_file(directory.path().join(part))?;
    TestHost::on(directory, |_| {}).await?;
    Ok(())
}

async fn a_directory_that_has_lost_its_secrets_is_refused() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let secret = json!({ "value": "s3cr3t-v4lue", "origins": ["https://api.example.com"] });
    let set = host.request(Method::PUT, "/v1/secrets/KEY").json(&secret);
    set.send().await?.error_for_status()?;
    is_missed(host, "secrets.json", "had/secrets").await
}

async fn a_directory_that_has_lost_its_values_is_refused() -> anyhow::Result<()> {
    is_missed(TestHost::start().await?, "values.db", "had/values").await
}

async fn a_directory_that_has_lost_its_plugins_is_refused() -> anyhow::Result<()> {
    is_missed(TestHost::start().await?, "plugins/index", "had/plugins").await
}
