//! The documentation says what is true: its defaults, flags, routes and commands are those of the code,
//! the tests that it names exist, and its links lead somewhere.

mod commands;
mod links;
mod problem_codes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright::Config;
use jobwright::telemetry::LogFormat;
use jobwright_core::job::MAX_LOST;
use jobwright_core::limits::{LimitPolicy, Limits, show_bytes};
use jobwright_core::retry::{DEFAULT_MAX_ATTEMPTS, MAX_ATTEMPTS_CAP};
use jobwright_tests::tests;
use libtest_mimic::Trial;

const README: &str = include_str!("../README.md");
const CONFIGURATION: &str = include_str!("../host/docs/src/reference/configuration.md");
const GUARANTEES: &str = include_str!("../host/docs/src/reference/guarantees.md");
const HTTP: &str = include_str!("../host/docs/src/reference/http.md");

/// The README is read in one sitting; details have their pages.
const README_LINES: usize = 150;

pub fn trials() -> Vec<Trial> {
    let mut trials = tests![
        the_readme_is_short_and_names_the_test_command_of_ci,
        the_documented_defaults_are_those_of_the_code,
        every_setting_of_the_file_is_documented,
        every_flag_and_variable_of_a_host_is_documented,
        every_route_is_documented_with_its_scope,
    ];
    trials.extend(commands::trials());
    trials.extend(links::trials());
    trials.extend(problem_codes::trials());
    trials
}

/// That each guarantee names a test, which exists.
pub fn every_guarantee_names_its_test(trials: &[Trial]) -> Trial {
    let is_test = |name: &str| trials.iter().any(|trial| trial.name() == name);
    let guarantees = GUARANTEES.lines().filter(|line| is_guarantee(line)).map(cells);
    let named: Vec<&str> =
        guarantees.map(|row| row.get(1).copied().unwrap_or_default().trim_matches('`')).collect();
    let missing: Vec<&str> = named.iter().copied().filter(|name| !is_test(name)).collect();
    Trial::test("readme::every_guarantee_names_its_test", move || {
        if missing.is_empty() && !named.is_empty() {
            Ok(())
        } else {
            Err(format!("no such test: {}", missing.join(", ")).into())
        }
    })
}

/// Whether a line of the page is a row of a table, and not its head.
fn is_guarantee(line: &str) -> bool {
    line.starts_with('|') && !line.starts_with("|---") && !line.starts_with("| guarantee ")
}

/// The cells of a row.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// The rows of the first table of a section, without its head.
fn table(page: &'static str, section: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let rest = page.split_once(section).map_or("", |(_, rest)| rest);
    let lines = rest.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    lines.take_while(|line| line.starts_with('|')).map(cells)
}

async fn the_readme_is_short_and_names_the_test_command_of_ci() -> anyhow::Result<()> {
    let lines = README.lines().count();
    ensure!(lines <= README_LINES, "README.md has {lines} lines, the most are {README_LINES}");
    let command = "cargo test --workspace";
    ensure!(README.lines().any(|line| line.trim_start().starts_with(command)), "no `{command}`");
    ensure!(include_str!("../.ci/run").contains(command), ".ci/run has no `{command}`");
    Ok(())
}

async fn every_route_is_documented_with_its_scope() -> anyhow::Result<()> {
    let routes: BTreeSet<[String; 3]> = jobwright::api::routes()
        .into_iter()
        .map(|r| [r.method.to_string(), format!("/v1{}", r.path), r.scope.to_string()])
        .collect();
    let documented: BTreeSet<[String; 3]> = table(HTTP, "## Routes")
        .map(|row| [0, 1, 2].map(|n| row[n].trim_matches('`').to_owned()))
        .collect();
    let missing: Vec<_> = routes.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&routes).collect();
    ensure!(missing.is_empty() && gone.is_empty(), "missing: {missing:?}; no route: {gone:?}");
    Ok(())
}

/// The rows of the table of settings: what it is, its default, key, flag and variable.
fn settings() -> impl Iterator<Item = [&'static str; 5]> {
    table(CONFIGURATION, "## Settings").map(|row| {
        [0, 1, 2, 3, 4].map(|n| row.get(n).copied().unwrap_or_default().trim_matches('`'))
    })
}

async fn the_documented_defaults_are_those_of_the_code() -> anyhow::Result<()> {
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
        ("configuration file", "none".to_owned()),
        ("log filter (`LEVEL` or `PART=LEVEL`)", "info".to_owned()),
        ("log format (`text` or `json`)", LogFormat::default().to_string()),
        ("workers", config.workers.to_string()),
        ("reserved_workers", "an eighth of the workers".to_owned()),
        ("isolation", format!("{:?}", config.isolation).to_lowercase()),
        ("guest_threads", "one per core".to_owned()),
        ("memory_budget_bytes", "half of the machine's memory".to_owned()),
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
        ("attempts of a job", DEFAULT_MAX_ATTEMPTS.to_string()),
        ("maximum attempts that can be requested", MAX_ATTEMPTS_CAP.to_string()),
        ("counted lost attempts after which a job is discarded", MAX_LOST.to_string()),
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
        ensure!(shown == value, "{name}: the page says {shown}, the code {value}");
    }
    ensure!(expected.is_empty(), "not documented: {expected:?}");
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

async fn every_setting_of_the_file_is_documented() -> anyhow::Result<()> {
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

async fn every_flag_and_variable_of_a_host_is_documented() -> anyhow::Result<()> {
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
