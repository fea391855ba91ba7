//! `jobwright secret …`

use std::io::{IsTerminal as _, Read as _};

use anyhow::Context as _;
use jobwright_core::grant::{Origin, SecretName};
use jobwright_core::secret::{MAX_VALUE_BYTES, SecretValue};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::{Ending, Fault};
use super::json::text;
use super::table::table;
use super::terminal::Terminal;

#[derive(Debug, clap::Subcommand)]
pub(super) enum SecretCommand {
    /// Set a secret to the value on stdin, without the line break at its end.
    Set {
        /// The name of the secret: A-Z, a-z, 0-9 and `_`.
        name: SecretName,
        /// An origin that the secret may be sent to, such as `https://api.example.com`; repeatable.
        #[arg(long = "origin", value_name = "ORIGIN", required = true)]
        origins: Vec<Origin>,
    },
    /// List the names and origins of the secrets. Their values are never shown.
    List,
    /// Remove a secret.
    Rm {
        /// The name of the secret.
        name: SecretName,
    },
}

impl SecretCommand {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        match self {
            Self::Set { name, origins } => set(client, terminal, &name, &origins).await,
            Self::List => list(client, terminal).await,
            Self::Rm { name } => remove(client, terminal, &name).await,
        }
    }
}

async fn set(
    client: &Client,
    terminal: &Terminal,
    name: &SecretName,
    origins: &[Origin],
) -> anyhow::Result<Ending> {
    client.ensure_confidential("the secret")?;
    let value = read()?;
    let body = json!({ "value": value.reveal(), "origins": origins });
    let request = client.request(Method::PUT, &["secrets", name.as_str()]).json(&body);
    let secret = client.json(request).await?;
    terminal.result(|| secret.clone(), |out| writeln!(out, "set {name}"))?;
    Ok(Ending::Done)
}

/// Reads the value from stdin, as other users and processes can see arguments and variables.
fn read() -> anyhow::Result<SecretValue> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("enter the secret (it is shown as you type), then press Ctrl-D:");
    }
    let mut text = String::new();
    // One byte more than the longest value with a line break, so that longer values are refused.
    let most = MAX_VALUE_BYTES as u64 + 3;
    stdin.lock().take(most).read_to_string(&mut text).context("cannot read the secret")?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    text.try_into().map_err(|error| Fault::Data.failure(error).into())
}

async fn list(client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
    let answer = client.json(client.request(Method::GET, &["secrets"])).await?;
    let secrets = answer["secrets"].as_array().cloned().unwrap_or_default();
    terminal.result(
        || secrets.clone().into(),
        |out| {
            let row = |secret: &Value| {
                let origins = secret["origins"].as_array().into_iter().flatten().map(text);
                let origins = origins.collect::<Vec<_>>().join(", ");
                vec![text(&secret["name"]), text(&secret["created_at"]), origins]
            };
            writeln!(out, "{}", table(&["name", "set", "origins"], secrets.iter().map(row)))
        },
    )?;
    Ok(Ending::Done)
}

async fn remove(client: &Client, terminal: &Terminal, name: &SecretName) -> anyhow::Result<Ending> {
    client.send(client.request(Method::DELETE, &["secrets", name.as_str()])).await?;
    terminal.result(|| json!({ "removed": name }), |out| writeln!(out, "removed {name}"))?;
    Ok(Ending::Done)
}
