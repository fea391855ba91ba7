//! Every sample, and the size, time and fuel of each plugin.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jobwright_plugins::{Expected, Plugin, Sample};
use jobwright_tests::jobwright;
use libtest_mimic::Trial;

use super::fixture::{Fixture, Of};

pub(super) fn trials(fixture: &Arc<Fixture>) -> Vec<Of> {
    let mut trials = Vec::new();
    for plugin in fixture.plugins.iter() {
        let add = |trial| trials.push((plugin.name.clone(), trial));
        of_plugin(fixture, plugin).into_iter().for_each(add);
    }
    trials
}

fn of_plugin(fixture: &Arc<Fixture>, plugin: &Plugin) -> Vec<Trial> {
    // The name of the folder, because `C++` cannot be part of a test name.
    let language = plugin.folder.parent().and_then(Path::file_name).unwrap_or_default();
    let prefix = format!("{}::{}", language.to_string_lossy(), plugin.name);
    let over_http = |sample: Sample| {
        let (plugin, name) = (plugin.name.clone(), format!("{prefix}::{}", sample.name));
        fixture.trial(&name, |fixture| async move { over_http(&fixture, &plugin, &sample).await })
    };
    let mut trials: Vec<_> = plugin.samples().into_iter().map(over_http).collect();
    if let Some(sample) = failing(plugin) {
        let (plugin, name) = (plugin.name.clone(), format!("{prefix}::uses_the_same_fuel_again"));
        let body =
            |fixture: Arc<Fixture>| async move { the_same_fuel(&fixture, &plugin, &sample).await };
        trials.push(fixture.trial(&name, body));
    }
    if let Some(sample) = succeeding(plugin) {
        let (plugin, name) = (plugin.name.clone(), format!("{prefix}::from_the_command_line"));
        let body = |fixture: Arc<Fixture>| async move {
            at_the_shell(fixture.wasm(&plugin)?, &sample).await
        };
        trials.push(fixture.trial(&name, body));
    }
    trials
}

/// The first sample that has an output.
pub(super) fn succeeding(plugin: &Plugin) -> Option<Sample> {
    let succeeds = |sample: &Sample| matches!(sample.expected, Expected::Output(_));
    plugin.samples().into_iter().find(succeeds)
}

/// The first sample that fails, so that it can be retried.
fn failing(plugin: &Plugin) -> Option<Sample> {
    let fails = |sample: &Sample| matches!(sample.expected, Expected::Failure(_));
    plugin.samples().into_iter().find(fails)
}

async fn the_same_fuel(fixture: &Fixture, plugin: &str, sample: &Sample) -> anyhow::Result<()> {
    let job = fixture.run_twice(plugin, sample).await?;
    let fuel = |attempt: usize| job["attempts"][attempt]["usage"]["fuel"].as_u64();
    ensure!(fuel(0) > Some(0) && fuel(0) == fuel(1), "{job}");
    Ok(())
}

async fn over_http(fixture: &Fixture, plugin: &str, sample: &Sample) -> anyhow::Result<()> {
    let ran = fixture.run_sample(plugin, sample).await?;
    match &sample.expected {
        Expected::Output(file) => {
            ensure!(ran.job["state"] == "completed", "{}\n{}", ran.job, ran.log);
            is_as_expected(&ran.output, file)
        }
        Expected::Failure(message) => {
            ensure!(ran.job["state"] == "discarded", "{}", ran.job);
            let said = ran.attempt()["error"]["message"].as_str().context("it says why")?;
            let told = said.contains(message) || ran.log.contains(message);
            ensure!(told, "not `{message}` but `{said}`\n{}", ran.log);
            Ok(())
        }
    }
}

async fn at_the_shell(wasm: &Path, sample: &Sample) -> anyhow::Result<()> {
    let Expected::Output(file) = &sample.expected else { return Ok(()) };
    let mut command = jobwright(["run"])?;
    command.arg(wasm).stdin(File::open(&sample.payload)?);
    for arg in &sample.args {
        command.args(["--arg", arg]);
    }
    let ran = command.output().await?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    is_as_expected(&ran.stdout, file)
}

fn is_as_expected(output: &[u8], file: &Path) -> anyhow::Result<()> {
    let expected = std::fs::read(file)?;
    let shown = |bytes| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output == expected, "not\n{}\nbut\n{}", shown(&expected), shown(output));
    Ok(())
}

/// Prints a line for each plugin: its language and size, and time and fuel of its first sample, in its
/// second run on one host.
pub(super) fn costs(fixture: &Arc<Fixture>) -> Trial {
    fixture.trial("what_each_plugin_costs_is_shown", |fixture| async move {
        let mut lines = Vec::new();
        for plugin in fixture.plugins.iter() {
            lines.push(line(&fixture, plugin).await?);
        }
        let titles = row(["PLUGIN", "LANGUAGE", "ABI", "SIZE", "INSTANTIATE", "RUN", "FUEL"]);
        println!("\n{titles}\n{}", lines.join("\n"));
        Ok(())
    })
}

async fn line(fixture: &Fixture, plugin: &Plugin) -> anyhow::Result<String> {
    let (language, abi) = (plugin.language.to_string(), plugin.abi.to_string());
    let path = match plugin.wasm() {
        Ok(path) => path,
        Err(reason) => {
            return Ok(row([&plugin.name, &language, &abi, "missing:", reason, "", ""]));
        }
    };
    // A plugin that sends requests fails without a grant; the cost of that is shown.
    let sample = succeeding(plugin).or_else(|| failing(plugin));
    let sample = sample.context("each plugin has a sample")?;
    fixture.run_sample(&plugin.name, &sample).await?;
    let ran = fixture.run_sample(&plugin.name, &sample).await?;
    let usage = &ran.attempt()["usage"];
    let ready = usage["compile_ms"].as_f64().is_some_and(|ms| ms < 5.0);
    ensure!(ready, "it was compiled when it was uploaded: {usage}");
    let size = format!("{} kB", std::fs::metadata(path)?.len().div_ceil(1000));
    let ms = |name: &str| format!("{:.2} ms", usage[name].as_f64().unwrap_or_default());
    let (instantiate, run) = (ms("instantiate_ms"), ms("run_ms"));
    let fuel = usage["fuel"].to_string();
    Ok(row([&plugin.name, &language, &abi, &size, &instantiate, &run, &fuel]))
}

fn row([name, language, abi, size, instantiate, run, fuel]: [&str; 7]) -> String {
    format!("{name:<14} {language:<15} {abi:<11} {size:>9} {instantiate:>12} {run:>11} {fuel:>13}")
}
