//! `jobwright tenant …`, and the kill switch.

use jobwright_core::tenant::TenantName;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Ending;
use super::plugin::text;
use super::terminal::{Terminal, printable, table};

#[derive(Debug, clap::Subcommand)]
pub(super) enum TenantCommand {
    /// List the tenants and what each may take.
    List,
    /// Change what a tenant may take; a number, or `none` for as much as there is room for.
    Set {
        /// Which.
        tenant: TenantName,
        /// Unfinished jobs.
        #[arg(long, value_parser = limit)]
        jobs: Option<Value>,
        /// Bytes of their payloads and arguments.
        #[arg(long, value_parser = limit)]
        payload_bytes: Option<Value>,
        /// Attempts in flight.
        #[arg(long, value_parser = limit)]
        running: Option<Value>,
        /// Jobs accepted in a second.
        #[arg(long, value_parser = limit)]
        jobs_per_second: Option<Value>,
        /// Bytes of its plugins.
        #[arg(long, value_parser = limit)]
        plugin_bytes: Option<Value>,
    },
    /// Stop all of its jobs, and take nothing from it.
    Disable {
        /// Which.
        tenant: TenantName,
        #[command(flatten)]
        jobs: Jobs,
    },
    /// Let it go on.
    Enable {
        /// Which.
        tenant: TenantName,
    },
}

/// What becomes of the jobs of what is switched off.
#[derive(Debug, clap::Args)]
pub(super) struct Jobs {
    /// Cancel its unfinished jobs, instead of holding them.
    #[arg(long)]
    cancel: bool,
}

fn limit(text: &str) -> Result<Value, String> {
    match text {
        "none" => Ok(Value::Null),
        number => {
            number.parse::<u64>().map(Value::from).map_err(|_| "use a number, or `none`".to_owned())
        }
    }
}

impl TenantCommand {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        match self {
            Self::List => list(client, terminal).await,
            Self::Set { tenant, jobs, payload_bytes, running, jobs_per_second, plugin_bytes } => {
                let limits = [
                    ("jobs", jobs),
                    ("payload_bytes", payload_bytes),
                    ("running", running),
                    ("jobs_per_second", jobs_per_second),
                    ("plugin_bytes", plugin_bytes),
                ];
                let given = limits.into_iter().filter_map(|(name, limit)| Some((name, limit?)));
                let limits: serde_json::Map<String, Value> =
                    given.map(|(name, limit)| (name.to_owned(), limit)).collect();
                set(client, terminal, &tenant, limits).await
            }
            Self::Disable { tenant, jobs } => {
                let path = ["tenants", tenant.as_str()];
                disable(client, terminal, (&path, tenant.as_str()), jobs).await
            }
            Self::Enable { tenant } => {
                let path = ["tenants", tenant.as_str()];
                enable(client, terminal, (&path, tenant.as_str())).await
            }
        }
    }
}

async fn list(client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
    let tenants = client.json(client.request(Method::GET, &["tenants"])).await?;
    let row = |tenant: &Value| {
        let state = if tenant["disabled"] == true { "off" } else { "on" };
        vec![text(&tenant["name"]), state.to_owned(), tenant["limits"].to_string()]
    };
    terminal.result(
        || tenants["tenants"].clone(),
        |out| {
            let rows = tenants["tenants"].as_array().into_iter().flatten().map(row);
            writeln!(out, "{}", table(&["name", "", "limits"], rows))
        },
    )?;
    Ok(Ending::Done)
}

async fn set(
    client: &Client,
    terminal: &Terminal,
    tenant: &TenantName,
    limits: serde_json::Map<String, Value>,
) -> anyhow::Result<Ending> {
    let request = client.request(Method::PATCH, &["tenants", tenant.as_str()]);
    let tenant = client.json(request.json(&json!({ "limits": limits }))).await?;
    terminal.result(
        || tenant.clone(),
        |out| writeln!(out, "{}  {}", printable(&text(&tenant["name"])), tenant["limits"]),
    )?;
    Ok(Ending::Done)
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
