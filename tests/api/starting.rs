//! Why a host refuses to start.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use jobwright::Config;
use jobwright_tests::{TestHost, tests, write_private};
use libtest_mimic::Trial;
use tempfile::TempDir;

use super::get;

pub fn trials() -> Vec<Trial> {
    tests![
        a_non_loopback_address_requires_keys,
        a_file_without_a_usable_key_is_refused,
        a_second_host_on_the_same_directory_is_refused,
        a_directory_of_a_newer_version_is_refused_and_unchanged,
        a_broken_plugin_index_is_reported_with_its_path,
        an_address_in_use_is_reported,
    ]
}

/// The error of a host that refuses to start on a directory.
async fn refusal(
    directory: Arc<TempDir>,
    change: impl FnOnce(&mut Config),
) -> anyhow::Result<String> {
    match TestHost::on(directory, change).await {
        Err(error) => Ok(format!("{error:#}")),
        Ok(host) => bail!("a host started on {}", host.address()),
    }
}

fn directory() -> anyhow::Result<Arc<TempDir>> {
    Ok(Arc::new(tempfile::tempdir()?))
}

fn says(message: &str, words: &[&str]) -> anyhow::Result<()> {
    for word in words {
        ensure!(message.contains(word), "no `{word}` in: {message}");
    }
    Ok(())
}

async fn a_non_loopback_address_requires_keys() -> anyhow::Result<()> {
    let everyone = SocketAddr::from(([0, 0, 0, 0], 0));
    let message = refusal(directory()?, |config| config.listen = everyone).await?;
    says(&message, &["0.0.0.0:0", "api_keys", "--insecure-no-auth"])?;
    let open = |config: &mut Config| {
        config.listen = everyone;
        config.insecure_no_auth = true;
    };
    TestHost::configured(open).await?;
    let folder = directory()?;
    let keys = folder.path().join("keys");
    write_private(&keys, "0123456789abcdef\n")?;
    let keyed = |config: &mut Config| {
        config.listen = everyone;
        config.api_keys = Some(keys);
    };
    TestHost::on(folder, keyed).await?;
    Ok(())
}

async fn a_file_without_a_usable_key_is_refused() -> anyhow::Result<()> {
    for (keys, words) in [
        ("short\n", &["line 1", "16 bytes"][..]),
        ("# ours\n\n0123456789abcde\n", &["line 3", "16 bytes"]),
        ("0123456789abcdef\t0123\n", &["line 1", "byte 17"]),
        ("# nothing\n\n", &["no key"]),
    ] {
        let folder = directory()?;
        let path = folder.path().join("keys");
        write_private(&path, keys)?;
        let message = refusal(folder, |config| config.api_keys = Some(path.clone())).await?;
        says(&message, words)?;
        says(&message, &[path.to_str().context("a path")?])?;
        ensure!(!message.contains("0123"), "the message has the key: {message}");
    }
    let missing = |config: &mut Config| config.api_keys = Some("/no/such/file".into());
    says(&refusal(directory()?, missing).await?, &["/no/such/file"])
}

async fn a_second_host_on_the_same_directory_is_refused() -> anyhow::Result<()> {
    let folder = directory()?;
    let first = TestHost::on(folder.clone(), |_| {}).await?;
    let message = refusal(folder.clone(), |_| {}).await?;
    let process = format!("process {}", std::process::id());
    says(
        &message,
        &["in use by another host", &process, folder.path().to_str().context("a path")?],
    )?;
    get(&first, "/readyz").await?.ok(200)?;
    let folder = first.stop().await?;
    TestHost::on(folder, |_| {}).await?;
    Ok(())
}

async fn a_directory_of_a_newer_version_is_refused_and_unchanged() -> anyhow::Result<()> {
    let folder = TestHost::start().await?.stop().await?;
    let database = folder.path().join("jobs.db");
    let version = |db: &rusqlite::Connection| -> rusqlite::Result<u32> {
        db.pragma_query_value(None, "user_version", |row| row.get(0))
    };
    let ours = version(&rusqlite::Connection::open(&database)?)?;
    set_schema(&database, 999)?;
    let message = refusal(folder.clone(), |_| {}).await?;
    says(&message, &["newer version", "999", "jobs.db"])?;
    set_schema(&database, ours)?;
    TestHost::on(folder, |_| {}).await?;
    Ok(())
}

fn set_schema(database: &Path, version: u32) -> anyhow::Result<()> {
    Ok(rusqlite::Connection::open(database)?.pragma_update(None, "user_version", version)?)
}

async fn a_broken_plugin_index_is_reported_with_its_path() -> anyhow::Result<()> {
    let folder = directory()?;
    std::fs::create_dir_all(folder.path().join("plugins/index"))?;
    std::fs::write(folder.path().join("plugins/index/word-count.json"), "{")?;
    says(&refusal(folder, |_| {}).await?, &["word-count.json", "unreadable"])
}

async fn an_address_in_use_is_reported() -> anyhow::Result<()> {
    let first = TestHost::start().await?;
    let address = first.address();
    let message = refusal(directory()?, |config| config.listen = address).await?;
    says(&message, &["cannot listen on", &address.to_string()])
}
