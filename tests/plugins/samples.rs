//! Every sample, and what each plugin costs.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jobwright_plugins::{Expected, Plugin, Sample};
use jobwright_tests::jobwright;
use libtest_mimic::Trial;

use super::stage::{Of, Stage};

pub(super) fn trials(stage: &Arc<Stage>) -> Vec<Of> {
    let mut trials = Vec::new();
    for plugin in stage.plugins.iter() {
        let add = |trial| trials.push((plugin.name.clone(), trial));
        of_plugin(stage, plugin).into_iter().for_each(add);
    }
    trials
}

fn of_plugin(stage: &Arc<Stage>, plugin: &Plugin) -> Vec<Trial> {
    // As its folder is called, because `C++` is no part of a name.
    let language = plugin.folder.parent().and_then(Path::file_name).unwrap_or_default();
    let prefix = format!("{}::{}", language.to_string_lossy(), plugin.name);
    let over_http = |sample: Sample| {
        let (plugin, name) = (plugin.name.clone(), format!("{prefix}::{}", sample.name));
        stage.trial(&name, |stage| async move { over_http(&stage, &plugin, &sample).await })
    };
    let mut trials: Vec<_> = plugin.samples().into_iter().map(over_http).collect();
    if let Some(sample) = failing(plugin) {
        let (plugin, name) = (plugin.name.clone(), format!("{prefix}::uses_the_same_fuel_again"));
        let body = |stage: Arc<Stage>| async move { the_same_fuel(&stage, &plugin, &sample).await };
        trials.push(stage.trial(&name, body));
    }
    if let Some(sample) = succeeding(plugin) {
        let (plugin, name) = (plugin.name.clone(), format!("{prefix}::from_the_command_line"));
        let body =
            |stage: Arc<Stage>| async move { at_the_shell(stage.wasm(&plugin)?, &sample).await };
        trials.push(stage.trial(&name, body));
    }
    trials
}

/// The first sample that has an output.
pub(super) fn succeeding(plugin: &Plugin) -> Option<Sample> {
    let succeeds = |sample: &Sample| matches!(sample.expected, Expected::Output(_));
    plugin.samples().into_iter().find(succeeds)
}

/// The first sample that is refused, so that a second attempt may be asked for.
fn failing(plugin: &Plugin) -> Option<Sample> {
    let fails = |sample: &Sample| matches!(sample.expected, Expected::Failure(_));
    plugin.samples().into_iter().find(fails)
}

async fn the_same_fuel(stage: &Stage, plugin: &str, sample: &Sample) -> anyhow::Result<()> {
    let job = stage.run_twice(plugin, sample).await?;
    let fuel = |attempt: usize| job["attempts"][attempt]["usage"]["fuel"].as_u64();
    ensure!(fuel(0) > Some(0) && fuel(0) == fuel(1), "{job}");
    Ok(())
}

async fn over_http(stage: &Stage, plugin: &str, sample: &Sample) -> anyhow::Result<()> {
    let ran = stage.run_sample(plugin, sample).await?;
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

/// A line for each plugin: what it is made with, how large it is, and what its first sample took,
/// at its second run in one host.
pub(super) fn costs(stage: &Arc<Stage>) -> Trial {
    stage.trial("what_each_plugin_costs_is_shown", |stage| async move {
        let mut lines = Vec::new();
        for plugin in stage.plugins.iter() {
            lines.push(line(&stage, plugin).await?);
        }
        let titles = row(["PLUGIN", "LANGUAGE", "ABI", "SIZE", "INSTANTIATE", "RUN", "FUEL"]);
        println!("\n{titles}\n{}", lines.join("\n"));
        Ok(())
    })
}

async fn line(stage: &Stage, plugin: &Plugin) -> anyhow::Result<String> {
    let (language, abi) = (plugin.language.to_string(), plugin.abi.to_string());
    let path = match plugin.wasm() {
        Ok(path) => path,
        Err(reason) => {
            return Ok(row([&plugin.name, &language, &abi, "missing:", reason, "", ""]));
        }
    };
    // One that reaches outside fails without a grant, and that is a cost too.
    let sample = succeeding(plugin).or_else(|| failing(plugin));
    let sample = sample.context("each plugin has a sample")?;
    stage.run_sample(&plugin.name, &sample).await?;
    let ran = stage.run_sample(&plugin.name, &sample).await?;
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
