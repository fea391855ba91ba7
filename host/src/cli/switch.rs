//! The kill switch: what is off, off and on again; and `jobwright disabled`.

use jobwright_core::hold::Hold;
use reqwest::Method;
use serde_json::json;

use super::client::Client;
use super::exit::Ending;
use super::terminal::{Terminal, table};

/// What becomes of the jobs of what is switched off.
#[derive(Debug, clap::Args)]
pub(super) struct Jobs {
    /// Cancel its unfinished jobs, instead of holding them.
    #[arg(long)]
    cancel: bool,
}

/// Switches off what is at `path` and called `name`.
pub(super) async fn disable(
    client: &Client,
    terminal: &Terminal,
    (path, name): (&[&str], &str),
    jobs: Jobs,
) -> anyhow::Result<Ending> {
    let path = [path, &["disable"]].concat();
    let request = client.request(Method::POST, &path);
    let body = json!({ "jobs": if jobs.cancel { "cancel" } else { "hold" } });
    let answer = client.json(request.json(&body)).await?;
    terminal.result(
        || answer.clone(),
        |out| writeln!(out, "{name} is off; cancelled jobs: {}", answer["cancelled_jobs"]),
    )?;
    Ok(Ending::Done)
}

/// Switches it on again.
pub(super) async fn enable(
    client: &Client,
    terminal: &Terminal,
    (path, name): (&[&str], &str),
) -> anyhow::Result<Ending> {
    let path = [path, &["enable"]].concat();
    let answer = client.json(client.request(Method::POST, &path)).await?;
    terminal.result(|| answer.clone(), |out| writeln!(out, "{name} is on"))?;
    Ok(Ending::Done)
}

/// Lists everything that is switched off, whosever it is.
pub(super) async fn list(client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
    let answer = client.json(client.request(Method::GET, &["disabled"])).await?;
    let holds: Vec<Hold> = serde_json::from_value(answer["disabled"].clone())?;
    terminal.result(
        || answer["disabled"].clone(),
        |out| writeln!(out, "{}", table(&["what", "name", "for"], holds.iter().map(row))),
    )?;
    Ok(Ending::Done)
}

/// What is off, and of which tenant: some are off for all.
fn row(hold: &Hold) -> Vec<String> {
    let (what, name, tenant) = match hold {
        Hold::Tenant(tenant) => ("tenant", tenant.to_string(), None),
        Hold::Plugin { tenant, plugin } => ("plugin", plugin.to_string(), Some(tenant)),
        Hold::Version { tenant, plugin, version } => {
            ("version", format!("{plugin}@{version}"), Some(tenant))
        }
        Hold::Digest(digest) => ("digest", digest.to_string(), None),
        Hold::Queue { tenant, queue } => ("queue", queue.to_string(), Some(tenant)),
        Hold::Operator(hold) => return row(hold),
    };
    let tenant = tenant.map_or_else(|| "-".to_owned(), ToString::to_string);
    vec![what.to_owned(), name, tenant]
}
