//! `jobwright tenant …`

use jobwright_core::tenant::TenantName;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::client::Client;
use super::disable::{self, DisableOptions, Target};
use super::exit::Ending;
use super::json::text;
use super::plugin::state;
use super::table::table;
use super::terminal::Terminal;

/// The columns for a tenant.
const HEADER: [&str; 3] = ["name", "state", "limits"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum TenantCommand {
    /// List the tenants and their limits.
    List,
    /// Show the limits of a tenant, and if it is disabled.
    Show {
        /// The name of the tenant.
        name: TenantName,
    },
    /// Change the limits of a tenant: each is a number, or `none` for no limit.
    Set {
        /// The name of the tenant.
        name: TenantName,
        #[command(flatten)]
        limits: Limits,
    },
    /// Remove a tenant that has no plugins and no unfinished jobs, with its limits, API keys, secrets
    /// and disabled flags.
    Rm {
        /// The name of the tenant.
        name: TenantName,
    },
    /// Disable a tenant: its jobs are stopped, and its writes are refused.
    Disable {
        /// The name of the tenant.
        name: TenantName,
        #[command(flatten)]
        how: DisableOptions,
    },
    /// Enable a disabled tenant: its held jobs continue.
    Enable {
        /// The name of the tenant.
        name: TenantName,
    },
}

/// The limits to change; at least one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Limits {
    /// The maximum number of unfinished jobs [default: as it is].
    #[arg(long, value_name = "N", value_parser = limit)]
    jobs: Option<Value>,
    /// The maximum size of their payloads and arguments, in bytes [default: as it is].
    #[arg(long, value_name = "N", value_parser = limit)]
    payload_bytes: Option<Value>,
    /// The maximum number of attempts in flight [default: as it is].
    #[arg(long, value_name = "N", value_parser = limit)]
    running: Option<Value>,
    /// The maximum number of jobs accepted per second [default: as it is].
    #[arg(long, value_name = "N", value_parser = limit)]
    jobs_per_second: Option<Value>,
    /// The maximum size of its plugins, in bytes [default: as it is].
    #[arg(long, value_name = "N", value_parser = limit)]
    plugin_bytes: Option<Value>,
}

impl Limits {
    fn given(self) -> serde_json::Map<String, Value> {
        let limits = [
            ("jobs", self.jobs),
            ("payload_bytes", self.payload_bytes),
            ("running", self.running),
            ("jobs_per_second", self.jobs_per_second),
            ("plugin_bytes", self.plugin_bytes),
        ];
        let given = limits.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit?)));
        given.collect()
    }
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
            Self::Show { name } => {
                answer(client, terminal, client.request(Method::GET, &path(&name))).await
            }
            Self::Set { name, limits } => {
                let change = json!({ "limits": limits.given() });
                let request = client.request(Method::PATCH, &path(&name)).json(&change);
                answer(client, terminal, request).await
            }
            Self::Rm { name } => remove(client, terminal, &name).await,
            Self::Disable { name, how } => {
                disable::disable(client, terminal, &target(&name), how).await
            }
            Self::Enable { name } => disable::enable(client, terminal, &target(&name)).await,
        }
    }
}

async fn remove(client: &Client, terminal: &Terminal, name: &TenantName) -> anyhow::Result<Ending> {
    client.send(client.request(Method::DELETE, &path(name))).await?;
    terminal.result(|| json!({ "removed": name }), |out| writeln!(out, "removed tenant {name}"))?;
    Ok(Ending::Done)
}

fn path(name: &TenantName) -> [&str; 2] {
    ["tenants", name.as_str()]
}

fn target(name: &TenantName) -> Target {
    Target { path: path(name).map(str::to_owned).to_vec(), name: name.to_string() }
}

async fn list(client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
    let tenants = client.json(client.request(Method::GET, &["tenants"])).await?;
    terminal.result(
        || tenants["tenants"].clone(),
        |out| {
            let rows = tenants["tenants"].as_array().into_iter().flatten().map(row);
            writeln!(out, "{}", table(&HEADER, rows))
        },
    )?;
    Ok(Ending::Done)
}

fn row(tenant: &Value) -> Vec<String> {
    vec![text(&tenant["name"]), state(tenant).to_owned(), tenant["limits"].to_string()]
}

/// Sends a request and shows the tenant of the response.
async fn answer(
    client: &Client,
    terminal: &Terminal,
    request: RequestBuilder,
) -> anyhow::Result<Ending> {
    let tenant = client.json(request).await?;
    terminal
        .result(|| tenant.clone(), |out| writeln!(out, "{}", table(&HEADER, [row(&tenant)])))?;
    Ok(Ending::Done)
}
