//! Plugins under `--isolation process` share no process, have no code in the host, and use no more memory
//! than an attempt may have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use reqwest::Client;
use serde_json::json;

use super::runners::Isolated;

pub(super) fn trials() -> Vec<Trial> {
    tests![
        only_jobs_of_one_plugin_share_a_process,
        a_new_version_has_a_process_of_its_own,
        the_host_loads_no_code_of_plugins,
        the_memory_of_a_process_is_limited_by_its_attempt,
    ]
}

impl Isolated {
    /// Runs a job of this plugin; returns the processes that exist afterwards.
    async fn after_job_of(&self, plugin: &str) -> anyhow::Result<BTreeSet<String>> {
        let job = self.finalized(&self.submit(json!({ "plugin": plugin })).await?).await?;
        ensure!(job["state"] == "completed", "{job}");
        let runners = self.runners()?;
        Ok(runners.iter().map(|runner| runner.path().display().to_string()).collect())
    }
}

async fn only_jobs_of_one_plugin_share_a_process() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    // The same bytes, but another plugin, with its own grants and jobs.
    for name in ["a", "b"] {
        host.push_wasm(name, guests::echo()?).await?;
    }
    let one = host.after_job_of("a").await?;
    assert_eq!((one.len(), &host.after_job_of("a").await?), (1, &one));
    let two = host.after_job_of("b").await?;
    ensure!(two.len() == 2 && two.is_superset(&one), "{one:?} {two:?}");
    for plugin in ["a", "b"] {
        assert_eq!(host.after_job_of(plugin).await?, two);
    }
    Ok(())
}

async fn a_new_version_has_a_process_of_its_own() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    host.push_wasm("a?version=1.0.0", guests::echo()?).await?;
    let one = host.after_job_of("a@1.0.0").await?;
    host.push_wasm("a?version=2.0.0", guests::log()?).await?;
    let two = host.after_job_of("a@2.0.0").await?;
    ensure!(two.len() == 2 && two.is_superset(&one), "{one:?} {two:?}");
    Ok(())
}

/// The executable anonymous memory of a process: machine code that was loaded.
fn loaded_code(process: u32) -> anyhow::Result<Vec<String>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let is_code = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].contains('x') && fields.len() < 6
    };
    Ok(maps.lines().filter(is_code).map(str::to_owned).collect())
}

async fn the_host_loads_no_code_of_plugins() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    host.push_wasm("a", guests::echo()?).await?;
    host.after_job_of("a").await?;
    let id = host.process.id().context("it runs")?;
    assert_eq!(loaded_code(id)?, Vec::<String>::new());

    // Without isolation there is such memory, so the check detects it.
    let data = tempfile::tempdir()?;
    let open = HostProcess::start(data.path(), &[]).await?;
    let put = Client::new().put(format!("{}/v1/plugins/a", open.url()));
    put.body(guests::echo()?).send().await?.error_for_status()?;
    ensure!(!loaded_code(open.id().context("it runs")?)?.is_empty());
    Ok(())
}

/// The limit of a process on its data segment, in bytes.
fn data_limit(process: &Path) -> anyhow::Result<u64> {
    let limits = fs::read_to_string(process.join("limits"))?;
    let line = limits.lines().find(|line| line.starts_with("Max data size"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)).context("a limit")?;
    soft.parse().with_context(|| soft.to_owned())
}

async fn the_memory_of_a_process_is_limited_by_its_attempt() -> anyhow::Result<()> {
    const MIB: u64 = 1 << 20;
    let host = Isolated::start().await?;
    let (_, small) = host.sleeper(json!({ "memory_bytes": 64 * MIB })).await?;
    let small = data_limit(small.path())?;
    ensure!(small < 2048 * MIB, "{small}");
    let other = Isolated::start().await?;
    let (_, large) = other.sleeper(json!({ "memory_bytes": 512 * MIB })).await?;
    let large = data_limit(large.path())?;
    ensure!(large >= small + 448 * MIB && large < 4096 * MIB, "{small} {large}");
    Ok(())
}
