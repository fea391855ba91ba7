//! `jobwright plugin …`

mod push;
mod set;

use jobwright_core::limits::show_bytes;
use jobwright_core::plugin::{PluginRef, Selector};
use reqwest::Method;
use serde_json::{Value, json};

use self::push::Push;
use self::set::Set;
use super::client::Client;
use super::disable::{self, DisableOptions, Target};
use super::exit::{Ending, Fault};
use super::inspect::Inspect;
use super::json::text;
use super::options::of_setting;
use super::table::table;
use super::terminal::{Terminal, printable};

#[derive(Debug, clap::Subcommand)]
pub(super) enum PluginCommand {
    /// Upload a plugin.
    Push(Push),
    /// Check a plugin without a host, and show its kind, imports, exports and the grants it can use.
    Inspect(Inspect),
    /// List the plugins.
    List,
    /// Show a plugin and its versions.
    Show {
        /// The name of the plugin.
        name: String,
    },
    /// Change the settings of a plugin: grants, limits and retries of its jobs.
    #[command(mut_args = of_setting)]
    Set(Box<Set>),
    /// Remove a plugin, or one version of it, that no unfinished job needs.
    Rm {
        /// `name`, or `name@version`.
        plugin: PluginRef,
    },
    /// Disable a plugin, or one version: its jobs are stopped, and new ones are refused.
    Disable {
        /// `name`, or `name@version`; `name@sha256:…` disables these bytes, for every plugin and tenant.
        plugin: PluginRef,
        #[command(flatten)]
        how: DisableOptions,
    },
    /// Enable a disabled plugin or version: its held jobs continue.
    Enable {
        /// The plugin, named as it was when it was disabled.
        plugin: PluginRef,
    },
}

impl PluginCommand {
    pub(super) async fn execute(
        self,
        client: impl FnOnce() -> anyhow::Result<Client>,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        match self {
            Self::Inspect(inspect) => inspect.execute(terminal).await,
            Self::Push(push) => push.execute(&client()?, terminal).await,
            Self::List => list(&client()?, terminal).await,
            Self::Show { name } => show(&client()?, terminal, &name).await,
            Self::Set(set) => set.execute(&client()?, terminal).await,
            Self::Rm { plugin } => remove(&client()?, terminal, plugin).await,
            Self::Disable { plugin, how } => {
                let target = target(&plugin)?;
                disable::disable(&client()?, terminal, &target, how).await
            }
            Self::Enable { plugin } => {
                let target = target(&plugin)?;
                disable::enable(&client()?, terminal, &target).await
            }
        }
    }
}

async fn list(client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
    let mut plugins: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let request = client.request(Method::GET, &["plugins"]);
        let mut page = client.json(request.query(&cursor.map(|c| [("cursor", c)]))).await?;
        if let Value::Array(found) = page["plugins"].take() {
            plugins.extend(found);
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    terminal.result(
        || plugins.clone().into(),
        |out| {
            let row = |plugin: &Value| {
                vec![
                    text(&plugin["name"]),
                    state(plugin).to_owned(),
                    text(&plugin["default_version"]),
                    versions(plugin),
                ]
            };
            let header = ["name", "state", "default", "versions"];
            writeln!(out, "{}", table(&header, plugins.iter().map(row)))
        },
    )?;
    Ok(Ending::Done)
}

async fn show(client: &Client, terminal: &Terminal, name: &str) -> anyhow::Result<Ending> {
    let plugin = client.json(client.request(Method::GET, &["plugins", name])).await?;
    terminal.result(
        || plugin.clone(),
        |out| {
            writeln!(out, "name      {}", printable(&text(&plugin["name"])))?;
            writeln!(out, "state     {}", state(&plugin))?;
            writeln!(out, "default   {}", printable(&text(&plugin["default_version"])))?;
            set::write(&plugin["settings"], out)?;
            writeln!(out)?;
            if let Some(latest) = plugin["lost_jobs"].get(0) {
                let id = printable(&text(&latest["id"]));
                writeln!(out, "suspect   its job {id} was lost with its host several times\n")?;
            }
            let row = |version: &Value| {
                vec![
                    text(&version["version"]),
                    state(version).to_owned(),
                    text(&version["abi"]),
                    show_bytes(version["size_bytes"].as_u64().unwrap_or_default()),
                    text(&version["created_at"]),
                    text(&version["digest"]),
                ]
            };
            let versions = plugin["versions"].as_array().into_iter().flatten().map(row);
            let header = ["version", "state", "abi", "size", "uploaded", "digest"];
            writeln!(out, "{}", table(&header, versions))
        },
    )?;
    Ok(Ending::Done)
}

/// The state of a plugin, version or tenant.
pub(super) fn state(of: &Value) -> &'static str {
    if of["disabled"] == true { "disabled" } else { "enabled" }
}

/// The number of versions of a plugin, and of those that are disabled themselves.
fn versions(plugin: &Value) -> String {
    let versions = plugin["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    match versions.iter().filter(|version| version["disabled"] == true).count() {
        0 => versions.len().to_string(),
        disabled => format!("{}, {disabled} disabled", versions.len()),
    }
}

/// The resource that a reference disables.
fn target(plugin: &PluginRef) -> anyhow::Result<Target> {
    let name = plugin.name.to_string();
    let path = match &plugin.selector {
        Selector::Default => vec!["plugins".to_owned(), name],
        Selector::Exact(version) => {
            vec!["plugins".to_owned(), name, "versions".to_owned(), version.to_string()]
        }
        Selector::Digest(digest) => vec!["digests".to_owned(), digest.to_string()],
        Selector::Highest { .. } => return Err(ambiguous(plugin)),
    };
    Ok(Target { path, name: plugin.to_string() })
}

fn ambiguous(plugin: &PluginRef) -> anyhow::Error {
    let message = format!("`{plugin}` can match several versions: use `name` or `name@1.2.0`");
    Fault::Usage.failure(message).into()
}

async fn remove(client: &Client, terminal: &Terminal, plugin: PluginRef) -> anyhow::Result<Ending> {
    let name = plugin.name.as_str();
    let request = match &plugin.selector {
        Selector::Default => client.request(Method::DELETE, &["plugins", name]),
        Selector::Exact(version) => {
            let version = version.to_string();
            client.request(Method::DELETE, &["plugins", name, "versions", &version])
        }
        _ => return Err(ambiguous(&plugin)),
    };
    client.send(request).await?;
    terminal.result(
        || json!({ "removed": plugin.to_string() }),
        |out| writeln!(out, "removed {plugin}"),
    )?;
    Ok(Ending::Done)
}
