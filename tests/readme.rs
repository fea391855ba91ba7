//! The README says what is true: its defaults are the code's, and the tests it names exist.

use anyhow::{Context as _, ensure};
use jobwright::Config;
use jobwright_core::lifecycle::MAX_LOST;
use jobwright_core::limits::{Fuel, show_bytes};
use jobwright_core::retry::{DEFAULT_MAX_ATTEMPTS, MAX_ATTEMPTS_CAP};
use jobwright_tests::tests;
use libtest_mimic::Trial;

const README: &str = include_str!("../README.md");

pub fn trials() -> Vec<Trial> {
    tests![the_defaults_in_the_readme_are_those_of_the_code, the_file_settings_in_the_readme_exist]
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

fn shown(what: &str) -> anyhow::Result<String> {
    let row = table("## Defaults").find(|row| row[0] == what);
    Ok(row.with_context(|| format!("no row `{what}`"))?[1].trim_matches('`').replace(',', ""))
}

async fn the_defaults_in_the_readme_are_those_of_the_code() -> anyhow::Result<()> {
    let config = Config::default();
    let limits = config.limit_policy()?;
    let (given, most) = (limits.default, limits.ceiling);
    let seconds = |ms: u64| format!("{} s", ms / 1000);
    let Fuel::Units(fuel) = given.fuel else { anyhow::bail!("fuel is metered by default") };
    let hours = |span: std::time::Duration| format!("{} h", span.as_secs() / 3600);
    for (what, value) in [
        ("address", config.listen.to_string()),
        ("attempts in flight", config.workers.to_string()),
        ("unfinished jobs in a queue", config.queue.capacity.to_string()),
        ("unfinished jobs in all queues", config.queue.total.to_string()),
        ("payloads of all unfinished jobs", show_bytes(config.queue.payload_bytes)),
        ("payload", show_bytes(config.payload_bytes)),
        ("plugin", show_bytes(config.plugin_bytes)),
        ("fuel of an attempt", fuel.to_string()),
        ("time of an attempt", seconds(given.timeout_ms)),
        ("memory of an attempt", show_bytes(given.memory_bytes)),
        ("output", show_bytes(given.output_bytes)),
        ("log that is kept", show_bytes(given.log_bytes)),
        ("most memory that may be asked for", show_bytes(most.memory_bytes)),
        ("most time that may be asked for", seconds(most.timeout_ms)),
        ("most output that may be asked for", show_bytes(most.output_bytes)),
        ("attempts", DEFAULT_MAX_ATTEMPTS.to_string()),
        ("most attempts that may be asked for", MAX_ATTEMPTS_CAP.to_string()),
        ("lost attempts until a job is discarded", MAX_LOST.to_string()),
        ("lease", format!("{} s", config.lease.as_secs())),
        ("heartbeat", format!("{} s", config.heartbeat.as_secs())),
        ("grace at shutdown", format!("{} s", config.shutdown_grace.as_secs())),
        ("completed and cancelled jobs are kept", hours(config.retention.completed)),
        ("discarded jobs are kept", format!("{} d", config.retention.discarded.as_secs() / 86_400)),
    ] {
        let shown = shown(what)?;
        ensure!(shown == value, "{what}: the README says {shown}, the code {value}");
    }
    Ok(())
}

async fn the_file_settings_in_the_readme_exist() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.toml");
    for row in table("## Defaults") {
        let Some(name) = row.get(2).map(|name| name.trim_matches('`')).filter(|n| !n.is_empty())
        else {
            continue;
        };
        // No value fits: what is complained of must be the value and not the name.
        std::fs::write(&file, format!("{name} = {{ nothing = true }}"))?;
        let Err(error) = Config::read(&file) else { continue };
        ensure!(!format!("{error:#}").contains(&format!("unknown field `{name}`")), "{error:#}");
        let inner = name.rsplit('.').next().unwrap_or(name);
        ensure!(!format!("{error:#}").contains(&format!("unknown field `{inner}`")), "{error:#}");
    }
    Ok(())
}
