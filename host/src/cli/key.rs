//! `jobwright key …` and `jobwright audit`.

use jobwright_core::access::Scope;
use jobwright_core::tenant::TenantName;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Ending;
use super::json::{actor, text};
use super::table::table;
use super::terminal::{Terminal, printable};

#[derive(Debug, clap::Subcommand)]
pub(super) enum KeyCommand {
    /// Create a key and print it, this once. From the first key on, every request needs one.
    Create {
        /// A scope: plugins:write, jobs:submit, jobs:read, jobs:replay or admin; repeatable.
        #[arg(long = "scope", required = true)]
        scopes: Vec<Scope>,
        /// The tenant that the key belongs to.
        #[arg(long = "for", value_name = "TENANT", default_value_t)]
        owner: TenantName,
        /// What the key is for.
        #[arg(long = "description", alias = "name", value_name = "TEXT", default_value = "")]
        name: String,
        /// The number of days after which the key expires [default: never].
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
        days: Option<u32>,
    },
    /// List the keys, without their tokens.
    List,
    /// Revoke a key. This cannot be undone.
    Revoke {
        /// The id of the key, as `jobwright key list` shows it.
        id: String,
    },
}

impl KeyCommand {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        match self {
            Self::Create { scopes, owner, name, days } => {
                let life = days.map(|days| u64::from(days) * 24 * 60 * 60);
                let draft = json!({
                    "scopes": scopes, "tenant": owner, "name": name, "expires_in_s": life,
                });
                create(client, terminal, draft).await
            }
            Self::List => list(client, terminal).await,
            Self::Revoke { id } => {
                let request = client.request(Method::DELETE, &["keys", &id]);
                let key = client.json(request).await?;
                terminal
                    .result(|| key.clone(), |out| writeln!(out, "revoked {}", printable(&id)))?;
                Ok(Ending::Done)
            }
        }
    }
}

async fn create(client: &Client, terminal: &Terminal, draft: Value) -> anyhow::Result<Ending> {
    // The response contains the token.
    client.ensure_confidential("the new key")?;
    let key = client.json(client.request(Method::POST, &["keys"]).json(&draft)).await?;
    terminal.result(
        || key.clone(),
        // Alone on its line, for `JOBWRIGHT_API_KEY=$(jobwright key create …)`.
        |out| writeln!(out, "{}", printable(&text(&key["key"]))),
    )?;
    Ok(Ending::Done)
}

async fn list(client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
    let keys = client.json(client.request(Method::GET, &["keys"])).await?;
    let row = |key: &Value| {
        let scopes = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let ended = if key["revoked_at"].is_null() { "expires_at" } else { "revoked_at" };
        vec![
            text(&key["id"]),
            text(&key["name"]),
            text(&key["tenant"]),
            text(&key["state"]),
            scopes.collect::<Vec<_>>().join(" "),
            text(&key["created_at"]),
            text(&key[ended]),
        ]
    };
    terminal.result(
        || keys["keys"].clone(),
        |out| {
            let rows = keys["keys"].as_array().into_iter().flatten().map(row);
            let header = ["id", "name", "tenant", "state", "scopes", "created", "ends"];
            writeln!(out, "{}", table(&header, rows))
        },
    )?;
    Ok(Ending::Done)
}

/// List administrative actions, newest first.
#[derive(Debug, clap::Args)]
pub(super) struct AuditOptions {
    /// The maximum number of entries.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Only entries older than this one, to continue after a page [default: from the newest].
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
}

impl AuditOptions {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        let page = [("limit", Some(self.limit as u64)), ("cursor", self.before)];
        let log = client.json(client.request(Method::GET, &["audit"]).query(&page)).await?;
        let row = |entry: &Value| {
            ["id", "at", "actor", "tenant", "action", "target", "detail"]
                .map(|field| match field {
                    "actor" => actor(&entry[field]),
                    _ => text(&entry[field]),
                })
                .to_vec()
        };
        terminal.result(
            || log["entries"].clone(),
            |out| {
                let rows = log["entries"].as_array().into_iter().flatten().map(row);
                let header = ["id", "at", "by", "tenant", "action", "target", "detail"];
                writeln!(out, "{}", table(&header, rows))
            },
        )?;
        Ok(Ending::Done)
    }
}
