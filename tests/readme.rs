//! The README says what is true: its defaults are the code's, and the tests it names exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright::Config;
use jobwright::telemetry::LogFormat;
use jobwright_core::lifecycle::MAX_LOST;
use jobwright_core::limits::{LimitPolicy, Limits, show_bytes};
use jobwright_core::retry::{DEFAULT_MAX_ATTEMPTS, MAX_ATTEMPTS_CAP};
use jobwright_tests::tests;
use libtest_mimic::Trial;

const README: &str = include_str!("../README.md");

pub fn trials() -> Vec<Trial> {
    tests![
        the_defaults_in_the_readme_are_those_of_the_code,
        every_setting_of_the_file_is_in_the_readme,
        every_flag_and_variable_of_a_host_is_in_the_readme,
    ]
}

/// That each test exists which the README names for a promise.
pub fn every_promise_names_its_test(trials: &[Trial]) -> Trial {
    let named: Vec<&str> = table("## Guarantees").map(|row| row[1].trim_matches('`')).collect();
    let is_test = |name: &str| trials.iter().any(|trial| trial.name() == name);
    let missing: Vec<&str> = named.iter().copied().filter(|name| !is_test(name)).collect();
    Trial::test("readme::every_promise_names_its_test", move || {
        if missing.is_empty() && !named.is_empty() {
            Ok(())
        } else {
            Err(format!("no such test: {}", missing.join(", ")).into())
        }
    })
}

/// The rows of the first table of a section, without its head.
fn table(section: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let rest = README.split_once(section).map_or("", |(_, rest)| rest);
    let lines = rest.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

/// The rows of the table of settings: what it is, its default, key, flag and variable.
fn settings() -> impl Iterator<Item = [&'static str; 5]> {
    table("## Defaults").map(|row| {
        [0, 1, 2, 3, 4].map(|n| row.get(n).copied().unwrap_or_default().trim_matches('`'))
    })
}

async fn the_defaults_in_the_readme_are_those_of_the_code() -> anyhow::Result<()> {
    let config = Config::default();
    let mut expected = limits(&config)?;
    let seconds = |span: Duration| format!("{} s", span.as_secs());
    let path =
        |path: &Option<PathBuf>| path.as_ref().map_or("none".into(), |p| p.display().to_string());
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let names = if config.allowed_hosts.is_empty() { "none" } else { "some" };
    ensure!(config.guest_threads.is_none() && config.memory_budget_bytes.is_none());
    expected.extend([
        ("listen", config.listen.to_string()),
        ("data", config.data.display().to_string()),
        ("store", format!("{:?}", config.store).to_lowercase()),
        ("api_keys", path(&config.api_keys)),
        ("allowed_hosts", names.to_owned()),
        ("insecure_no_auth", yes(config.insecure_no_auth)),
        ("the file itself", "none".to_owned()),
        ("which lines the log has", "info".to_owned()),
        ("how the log is written, as `text` or `json` lines", LogFormat::default().to_string()),
        ("workers", config.workers.to_string()),
        ("reserved_workers", "an eighth".to_owned()),
        ("isolation", format!("{:?}", config.isolation).to_lowercase()),
        ("guest_threads", "one a core".to_owned()),
        ("memory_budget_bytes", "half of the machine's".to_owned()),
        ("stack_bytes", show_bytes(config.stack_bytes)),
        ("queue.capacity", config.queue.capacity.to_string()),
        ("queue.parked_capacity", config.queue.parked_capacity.to_string()),
        ("queue.total", config.queue.total.to_string()),
        ("queue.head_start", seconds(config.queue.head_start)),
        ("queue.payload_bytes", show_bytes(config.queue.payload_bytes)),
        ("payload_bytes", show_bytes(config.payload_bytes)),
        ("plugin_bytes", show_bytes(config.plugin_bytes)),
        ("compile.timeout", seconds(config.compile.timeout)),
        ("compile.memory_bytes", show_bytes(config.compile.memory_bytes)),
        ("disk.free_bytes", show_bytes(config.disk.free_bytes)),
        ("disk.plugin_bytes", show_bytes(config.disk.plugin_bytes)),
        ("disk.compiled_bytes", show_bytes(config.disk.compiled_bytes)),
        ("disk.history_bytes", show_bytes(config.disk.history_bytes)),
        ("disk.log_bytes", show_bytes(config.disk.log_bytes)),
        ("disk.checkpoint_bytes", show_bytes(config.disk.checkpoint_bytes)),
        ("disk.key_bytes", show_bytes(config.disk.key_bytes)),
        ("disk.value_bytes", show_bytes(config.disk.value_bytes)),
        ("attempts", DEFAULT_MAX_ATTEMPTS.to_string()),
        ("most attempts that may be asked for", MAX_ATTEMPTS_CAP.to_string()),
        ("lost attempts that count until a job is discarded", MAX_LOST.to_string()),
        ("lease", seconds(config.lease)),
        ("heartbeat", seconds(config.heartbeat)),
        ("poll", seconds(config.poll)),
        ("shutdown_grace", seconds(config.shutdown_grace)),
        ("retention.completed", format!("{} h", config.retention.completed.as_secs() / 3600)),
        ("retention.discarded", format!("{} d", config.retention.discarded.as_secs() / 86_400)),
    ]);
    for [what, default, key, ..] in settings() {
        let name = if key.is_empty() { what } else { key };
        let value = expected.remove(name).with_context(|| format!("nothing known of `{name}`"))?;
        let shown = default.replace(',', "");
        ensure!(shown == value, "{name}: the README says {shown}, the code {value}");
    }
    ensure!(expected.is_empty(), "not in the README: {expected:?}");
    Ok(())
}

/// The default limits and their ceilings.
fn limits(config: &Config) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let LimitPolicy { default, .. } = config.limit_policy()?;
    // What this machine has room for may be less.
    let most = Limits::CEILING;
    let seconds = |ms: u64| format!("{} s", ms / 1000);
    Ok(BTreeMap::from([
        ("limits.fuel", default.fuel.to_string()),
        ("limits.timeout_ms", seconds(default.timeout_ms)),
        ("limits.memory_bytes", show_bytes(default.memory_bytes)),
        ("limits.output_bytes", show_bytes(default.output_bytes)),
        ("limits.log_bytes", show_bytes(default.log_bytes)),
        ("limits.tables", default.tables.to_string()),
        ("limits.resources", default.resources.to_string()),
        ("limits.checkpoint_bytes", show_bytes(default.checkpoint_bytes)),
        ("limits.grace_ms", seconds(default.grace_ms)),
        ("ceilings.fuel", most.fuel.to_string()),
        ("ceilings.timeout_ms", seconds(most.timeout_ms)),
        ("ceilings.memory_bytes", show_bytes(most.memory_bytes)),
        ("ceilings.output_bytes", show_bytes(most.output_bytes)),
        ("ceilings.log_bytes", show_bytes(most.log_bytes)),
        ("ceilings.tables", most.tables.to_string()),
        ("ceilings.resources", most.resources.to_string()),
        ("ceilings.checkpoint_bytes", show_bytes(most.checkpoint_bytes)),
        ("ceilings.grace_ms", seconds(most.grace_ms)),
    ]))
}

async fn every_setting_of_the_file_is_in_the_readme() -> anyhow::Result<()> {
    let mut keys = BTreeSet::new();
    for key in expected_instead_of("nothing = 1")? {
        match expected_instead_of(&format!("{key} = {{ nothing = 1 }}"))? {
            inner if inner.is_empty() => drop(keys.insert(key)),
            inner => keys.extend(inner.into_iter().map(|inner| format!("{key}.{inner}"))),
        }
    }
    ensure!(keys.len() > 30, "all are told: {keys:?}");
    let shown = settings().map(|row| row[2].to_owned()).filter(|key| !key.is_empty());
    assert_eq!(shown.collect::<BTreeSet<_>>(), keys);
    Ok(())
}

/// The keys that the configuration names when it refuses the key `nothing`; none if it refuses
/// something else.
fn expected_instead_of(text: &str) -> anyhow::Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text)?;
    let error = format!("{:#}", Config::read(&file).err().context("there is no such key")?);
    let expected = error.split_once("unknown field `nothing`, expected ").map(|(_, rest)| rest);
    let names = expected.and_then(|rest| rest.lines().next()).unwrap_or_default();
    Ok(names.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

async fn every_flag_and_variable_of_a_host_is_in_the_readme() -> anyhow::Result<()> {
    let command = jobwright::cli::command();
    let serve = command.find_subcommand("serve").context("it serves")?;
    let flags: BTreeSet<(String, String)> = serve
        .get_arguments()
        .filter_map(|flag| Some((flag.get_long()?, flag.get_env()?.to_str()?)))
        .map(|(flag, variable)| (format!("--{flag}"), variable.to_owned()))
        .collect();
    ensure!(flags.len() > 5, "each flag has a variable: {flags:?}");
    let shown = settings().filter(|row| !row[3].is_empty());
    let shown = shown.map(|row| (row[3].to_owned(), row[4].to_owned()));
    assert_eq!(shown.collect::<BTreeSet<_>>(), flags);
    for [_, _, key, flag, variable] in settings() {
        let named = |prefix: &str, separator: &str| {
            format!("{prefix}{}", key.replace(['.', '_'], separator))
        };
        // `--data` is the payload of a job.
        let expected = if key == "data" { "--data-dir".to_owned() } else { named("--", "-") };
        ensure!(key.is_empty() || flag.is_empty() || flag == expected, "{key} is {flag}");
        let expected = named("JOBWRIGHT_", "_").to_uppercase();
        ensure!(
            key.is_empty() || variable.is_empty() || variable == expected,
            "{key} is {variable}"
        );
    }
    Ok(())
}
