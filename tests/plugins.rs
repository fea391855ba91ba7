//! The example plugins, through a host, over HTTP, on the sample inputs that the repository ships.

use std::sync::OnceLock;

use anyhow::{Context as _, ensure};
use jobwright_plugins::{Availability, Plugins};
use jobwright_tests::{TestHost, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

pub fn trials() -> Vec<Trial> {
    let mut trials = tests![
        word_count_counts_the_words_of_a_text,
        csv_stats_describes_the_columns_of_a_table,
        csv_stats_refuses_a_broken_table_for_good,
        thumbnail_makes_a_smaller_picture,
        process_order_prices_an_order_and_names_every_fault_of_a_bad_one,
    ];
    let c = tests![access_log_in_c_summarises_a_log];
    // Where there is no C compiler this says `ignored`; CI sets the variable and demands it.
    let demanded = std::env::var_os("JOBWRIGHT_DEMAND_TOOLS").is_some();
    let missing =
        matches!(build().map(|p| p.get("access-log").clone()), Ok(Availability::Missing { .. }));
    trials.extend(c.into_iter().map(|trial| trial.with_ignored_flag(missing && !demanded)));
    trials
}

/// Builds the plugins, once for all tests.
fn build() -> anyhow::Result<&'static Plugins> {
    static BUILT: OnceLock<Plugins> = OnceLock::new();
    match BUILT.get() {
        Some(plugins) => Ok(plugins),
        None => {
            let plugins = jobwright_plugins::build(|line| eprintln!("{line}"))?;
            Ok(BUILT.get_or_init(|| plugins))
        }
    }
}

/// Runs the plugin on a sample, and answers the finalized job with its output's bytes.
async fn run(name: &str, query: &str, payload: Vec<u8>) -> anyhow::Result<(Value, Vec<u8>)> {
    let plugins = build()?;
    let Availability::Built(path) = plugins.get(name) else {
        anyhow::bail!("{:?}", plugins.get(name));
    };
    let host = TestHost::start().await?;
    host.push(name, std::fs::read(path)?).await?;
    let request = host.request(Method::POST, &format!("/v1/jobs?plugin={name}{query}"));
    let job: Value = request.body(payload).send().await?.error_for_status()?.json().await?;
    let job = host.finalized(job["id"].as_str().context("a job has an id")?).await?;
    let output = match job["output_url"].as_str() {
        Some(url) => host.get(url).await?.error_for_status()?.bytes().await?.to_vec(),
        None => vec![],
    };
    host.stop().await?;
    Ok((job, output))
}

fn sample(name: &str) -> anyhow::Result<Vec<u8>> {
    Ok(std::fs::read(jobwright_plugins::data(name))?)
}

async fn word_count_counts_the_words_of_a_text() -> anyhow::Result<()> {
    let (job, _) = run("word-count", "&arg=1", sample("alice.txt")?).await?;
    let expected = json!({
        "lines": 20, "words": 278, "distinct": 143, "top": [{ "word": "the", "count": 14 }]
    });
    ensure!(job["output"] == expected, "{job}");
    Ok(())
}

async fn csv_stats_describes_the_columns_of_a_table() -> anyhow::Result<()> {
    let (job, _) = run("csv-stats", "", sample("elements.csv")?).await?;
    let weight = &job["output"]["columns"][3];
    ensure!(job["output"]["rows"] == 118 && weight["name"] == "atomic_weight", "{job}");
    ensure!((&weight["min"], &weight["max"]) == (&json!(1.008), &json!(294.0)), "{weight}");
    Ok(())
}

async fn csv_stats_refuses_a_broken_table_for_good() -> anyhow::Result<()> {
    let (job, _) = run("csv-stats", "", b"a,b\n1,2\n3\n".to_vec()).await?;
    ensure!(job["state"] == "discarded" && job["attempt"] == 1, "{job}");
    ensure!(job["attempts"][0]["error"]["code"] == "exit_code", "{job}");
    Ok(())
}

async fn thumbnail_makes_a_smaller_picture() -> anyhow::Result<()> {
    let picture = sample("picture.png")?;
    let before = picture.len();
    let (job, png) = run("thumbnail", "&arg=64", picture).await?;
    ensure!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() < before, "{job}");
    // Width and height are the first fields of a PNG's first chunk.
    ensure!(png[16..24] == [0, 0, 0, 64, 0, 0, 0, 48], "{:?}", &png[16..24]);
    Ok(())
}

async fn process_order_prices_an_order_and_names_every_fault_of_a_bad_one() -> anyhow::Result<()> {
    let order = sample("order.json")?;
    let (job, _) = run("process-order", "", order.clone()).await?;
    ensure!(job["output"]["total"] == 22061, "{job}");
    let mut bad: Value = serde_json::from_slice(&order)?;
    bad["lines"][0]["quantity"] = 0.into();
    bad["customer"]["email"] = "nobody".into();
    let (job, _) = run("process-order", "", bad.to_string().into_bytes()).await?;
    let message = job["attempts"][0]["error"]["message"].as_str().unwrap_or_default();
    ensure!(job["state"] == "discarded", "{job}");
    ensure!(message.contains("65"), "{message}");
    Ok(())
}

async fn access_log_in_c_summarises_a_log() -> anyhow::Result<()> {
    let (job, _) = run("access-log", "", sample("sample.log")?).await?;
    let output = &job["output"];
    ensure!((&output["lines"], &output["malformed"]) == (&json!(57), &json!(2)), "{job}");
    Ok(())
}
