//! The kill switch: disables and enables plugins and tenants. And `jobwright disabled`.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::amounts::jobs;
use super::client::Client;
use super::exit::Ending;
use super::json::{actor, text};
use super::table::{Column, fitting};
use super::terminal::Terminal;

/// The options of `disable`.
#[derive(Debug, clap::Args)]
pub(super) struct DisableOptions {
    /// Cancel its unfinished jobs, instead of holding them.
    #[arg(long)]
    cancel: bool,
    /// The reason, which `jobwright disabled` shows [default: none].
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// A resource that can be disabled.
pub(super) struct Target {
    /// Its path under `/v1`.
    pub(super) path: Vec<String>,
    /// Its name in messages.
    pub(super) name: String,
}

impl Target {
    /// A request to do `action` to it.
    fn request(&self, client: &Client, action: &str) -> RequestBuilder {
        let path: Vec<&str> = self.path.iter().map(String::as_str).chain([action]).collect();
        client.request(Method::POST, &path)
    }
}

/// Disables a resource.
pub(super) async fn disable(
    client: &Client,
    terminal: &Terminal,
    target: &Target,
    how: DisableOptions,
) -> anyhow::Result<Ending> {
    let (request, name) = (target.request(client, "disable"), &target.name);
    let waiting = if how.cancel { "cancel" } else { "hold" };
    let answer =
        client.json(request.json(&json!({ "jobs": waiting, "reason": how.reason }))).await?;
    terminal.result(
        || answer.clone(),
        |out| match answer["cancelled_jobs"].as_u64().filter(|_| how.cancel) {
            Some(count) => writeln!(out, "disabled {name}, cancelled {}", jobs(count as usize)),
            None => writeln!(out, "disabled {name}"),
        },
    )?;
    Ok(Ending::Done)
}

/// Enables a disabled resource.
pub(super) async fn enable(
    client: &Client,
    terminal: &Terminal,
    target: &Target,
) -> anyhow::Result<Ending> {
    let answer = client.json(target.request(client, "enable")).await?;
    terminal.result(|| answer.clone(), |out| writeln!(out, "enabled {}", target.name))?;
    Ok(Ending::Done)
}

/// Lists everything that is disabled, of all tenants.
pub(super) async fn list(client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
    let answer = client.json(client.request(Method::GET, &["disabled"])).await?;
    let entries = answer["disabled"].as_array().cloned().unwrap_or_default();
    terminal.table(
        || answer["disabled"].clone(),
        || fitting(&COLUMNS, entries.iter().map(row).collect(), |_, _| None),
    )?;
    Ok(Ending::Done)
}

const COLUMNS: [Column; 6] = [
    Column { title: "kind", min_width: usize::MAX },
    Column { title: "name", min_width: usize::MAX },
    Column { title: "tenant", min_width: usize::MAX },
    Column { title: "by", min_width: usize::MAX },
    Column { title: "since", min_width: usize::MAX },
    Column { title: "reason", min_width: usize::MAX },
];

/// The cells for an entry. Digests are disabled for all tenants.
fn row(entry: &Value) -> Vec<String> {
    let (tenant, plugin, version) = (&entry["tenant"], &entry["plugin"], &entry["version"]);
    let (kind, name, of) = if version.is_object() {
        let name = format!("{}@{}", text(&version["plugin"]), text(&version["version"]));
        ("version", name, &version["tenant"])
    } else if plugin.is_object() {
        ("plugin", text(&plugin["plugin"]), &plugin["tenant"])
    } else if tenant.is_string() {
        ("tenant", text(tenant), &Value::Null)
    } else {
        ("digest", text(&entry["digest"]), &Value::Null)
    };
    let by = actor(&entry["disabled_by"]);
    vec![kind.to_owned(), name, text(of), by, text(&entry["disabled_at"]), text(&entry["reason"])]
}
